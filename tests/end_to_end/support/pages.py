"""Which pages were asked for, and which of them again."""

from tests.sample_api import SampleApi


def read_again(api: SampleApi, resource: str = "contacts", limit: int = 100) -> list[int]:
    """Give the offsets of answered requests most of whose rows had been answered before.

    An overlap of a few rows is none of these; the closing lap of a pass, which looks at the beginning again, is.
    """
    seen: set[int] = set()
    again = []
    for request in api.requests:
        if request.resource != resource or request.status != 200:
            continue
        offset = int(request.query.get("offset", 0))
        rows = set(range(offset, offset + int(request.query.get("limit", limit))))
        if len(rows & seen) > limit / 2:
            again.append(offset)
        seen |= rows
    return again
