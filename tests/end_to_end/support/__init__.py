"""What end-to-end tests stand on: the function as it is served, runs in this process, and what is in a table."""

from tests.end_to_end.support.function import Answer, Function, serving
from tests.end_to_end.support.loading import Loading, sample_config
from tests.end_to_end.support.pages import read_again
from tests.end_to_end.support.tables import columns_of, difference, ids_of, rows_of

__all__ = [
    "Answer",
    "Function",
    "Loading",
    "columns_of",
    "difference",
    "ids_of",
    "read_again",
    "rows_of",
    "sample_config",
    "serving",
]
