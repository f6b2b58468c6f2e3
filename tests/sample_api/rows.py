"""A row is a function of its resource and its number: any number of rows, without keeping one."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any, Literal, TypeVar
from uuid import UUID
from zlib import crc32

Row = dict[str, Any]
Keys = Literal["ordered", "random"]
T = TypeVar("T")

EPOCH = datetime(2024, 1, 1, tzinfo=UTC)
SECONDS_BETWEEN_ROWS = 10

NAMES = ("Ada Lovelace", "Иван Петров", "山田 花子", "ليلى حداد", "Søren Ødegård", "Chloé O'Neil")
SENTENCES = (
    "Hello, the export stops at the second page.",
    'Не приходит письмо со ссылкой, проверьте "почту".',  # noqa: RUF001
    "請求書の金額が合いません。",
    "لا أستطيع تسجيل الدخول إلى حسابي.",
    "Thank you so much 🎉👩🏽‍💻, it works again!",
    "Line one\n\tline two; a \\ backslash, a comma, a <b>tag</b>.",
)
PLACES = (("DE", "Köln"), ("JP", "東京"), ("US", "New York"), ("RU", "Москва"), ("EG", "القاهرة"))
TAGS = ("billing", "bug", "vip", "重要", "churn")


def make_key(resource: str, n: int, *, keys: Keys = "ordered") -> int | str:
    """Give the key of row `n`: the number itself, or a UUID that looks random."""
    if keys == "ordered":
        return n
    return str(UUID(bytes=blake2b(f"{resource}/{n}".encode(), digest_size=16).digest()))


def make_row(resource: str, n: int, *, keys: Keys = "ordered") -> Row:
    """Give row `n` of a resource, about 500 bytes of JSON, always the same."""
    seed = crc32(f"{resource}/{n}".encode())
    created_at = EPOCH + timedelta(seconds=SECONDS_BETWEEN_ROWS * n)
    return {
        "id": make_key(resource, n, keys=keys),
        "created_at": timestamp(created_at),
        "updated_at": timestamp(created_at + timedelta(seconds=seed % 1_000_000)),
        "revision": 1,
        **FIELDS[resource](n, seed),
    }


def make_parts(conversation_key: int | str) -> list[Row]:
    """Give the parts of one conversation: none to three."""
    seed = crc32(str(conversation_key).encode())
    return [
        {**make_row("conversation_parts", seed + part), "id": f"{conversation_key}-{part}"} for part in range(seed % 4)
    ]


def timestamp(moment: datetime) -> str:
    """Write a moment as the API does."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def conversation(n: int, seed: int) -> Row:
    """Give what is special to a conversation."""
    return {
        "subject": _pick(SENTENCES, seed),
        "state": _pick(("open", "closed", "snoozed"), seed),
        "priority": seed % 5 == 0,
        "waiting_since": None if seed % 3 else timestamp(EPOCH + timedelta(seconds=seed % 10**8)),
        "last_seen_at": _seconds(n),
        "rating": None if seed % 4 else _fraction(seed, 5),
        "source": {"type": "email", "author": _person(seed)},
        "tags": [{"id": tag, "name": TAGS[tag]} for tag in range(seed % 4)],
        "participant_ids": [seed % 997 + 1, seed % 991 + 1],
        "statistics": {"replies": seed % 40, "first_reply_seconds": _fraction(seed, 86_400)},
    }


def contact(n: int, seed: int) -> Row:
    """Give what is special to a contact."""
    country, city = _pick(PLACES, seed)
    return {
        **_person(seed),
        "email": f"contact{n}@example.com",
        "phone": None if seed % 3 == 0 else f"+49 221 {seed % 10**7:07}",
        "unsubscribed": seed % 7 == 0,
        "last_seen_at": _seconds(n),
        "lifetime_value": _fraction(seed, 10_000),
        "location": {"country": country, "city": city, "position": {"latitude": _fraction(seed, 90)}},
        "segments": list(TAGS[: seed % 3]),
        "companies": [{"id": seed % 99 + 1, "role": "buyer"}],
        "notes": f"{_pick(SENTENCES, seed)} {_pick(SENTENCES, seed // 7)}",
    }


def conversation_part(n: int, seed: int) -> Row:
    """Give what is special to a part of a conversation."""
    return {
        "conversation_id": seed % 1234 + 1,
        "part_type": _pick(("comment", "note", "assignment"), seed),
        "author": _person(seed),
        "body": " ".join(_pick(SENTENCES, seed // divisor) for divisor in (1, 7, 49)),
        "redacted": seed % 11 == 0,
        "notified_at": None if seed % 2 else _seconds(n),
        "sentiment": _fraction(seed, 1),
        "attachments": [{"name": f"файл-{part}.pdf", "bytes": seed % 10**6} for part in range(seed % 3)],
    }


def team(n: int, seed: int) -> Row:
    """Give what is special to a team."""
    return {
        "name": f"Team {n} {_pick(TAGS, seed)}",
        "lead": _person(seed),
        "active": seed % 2 == 0,
        "archived_at": None if seed % 4 else _seconds(n),
        "load": _fraction(seed, 100),
        "member_ids": [seed % (part + 90) for part in range(8)],
        "office_hours": [{"day": day, "opens": "09:00", "closes": "17:30"} for day in ("mon", "wed")],
        "description": f"{_pick(SENTENCES, seed)} {_pick(SENTENCES, seed // 7)}",
    }


def company(n: int, seed: int) -> Row:
    """Give what is special to a company."""
    country, city = _pick(PLACES, seed)
    return {
        "name": f"{_pick(NAMES, seed)} & Co. {n}",
        "website": None if seed % 3 == 0 else f"https://company{n}.example.com/?a=1&b=2",
        "plan": {"name": _pick(("free", "pro"), seed), "seats": seed % 500, "price": _fraction(seed, 900)},
        "paying": seed % 2 == 1,
        "last_seen_at": _seconds(n),
        "address": {"country": country, "city": city},
        "tags": [{"id": tag, "name": TAGS[tag]} for tag in range(seed % 3)],
        "domains": [f"company{n}.example.com", f"mail.company{n}.example.com"],
        "about": f"{_pick(SENTENCES, seed)} {_pick(SENTENCES, seed // 7)}",
    }


FIELDS: dict[str, Callable[[int, int], Row]] = {
    "conversations": conversation,
    "contacts": contact,
    "conversation_parts": conversation_part,
    "teams": team,
    "companies": company,
}
RESOURCES = tuple(FIELDS)


def _person(seed: int) -> Row:
    return {"name": _pick(NAMES, seed // 3), "email": f"person{seed % 9973}@example.com"}


def _seconds(n: int) -> int:
    return int(EPOCH.timestamp()) + SECONDS_BETWEEN_ROWS * n + 5


def _fraction(seed: int, below: int) -> float:
    """Give a float that never looks like an integer, so that no number column is split in two."""
    return seed % below + 0.25 + seed % 2 / 2


def _pick(choices: tuple[T, ...], seed: int) -> T:
    return choices[seed % len(choices)]
