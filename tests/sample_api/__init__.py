"""A third-party analytics API, played on 127.0.0.1: calm unless told otherwise."""

from tests.sample_api.rows import RESOURCES, Keys, Row, make_key, make_parts, make_row
from tests.sample_api.server import CLIENT_ID, KEY, SampleApi
from tests.sample_api.world import Behaviour, Failure, Page, World

__all__ = [
    "CLIENT_ID",
    "KEY",
    "RESOURCES",
    "Behaviour",
    "Failure",
    "Keys",
    "Page",
    "Row",
    "SampleApi",
    "World",
    "make_key",
    "make_parts",
    "make_row",
]
