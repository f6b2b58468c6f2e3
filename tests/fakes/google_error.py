"""Errors as Google's APIs put them."""

from tests.local_server import Answer, Request, json_answer

STATUS_NAMES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ALREADY_EXISTS",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
}


def google_error(status: int, message: str, status_name: str | None = None) -> Answer:
    """Give the answer of an error; most status codes imply their name."""
    name = status_name or STATUS_NAMES.get(status, "UNKNOWN")
    return json_answer({"error": {"code": status, "message": message, "status": name}}, status)


def unauthenticated(request: Request) -> Answer | None:
    """Give the answer to a request without an access token; None: it has one."""
    if request.headers.get("authorization", "").startswith("Bearer "):
        return None
    return google_error(401, "Request is missing required authentication credential.")
