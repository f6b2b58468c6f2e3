"""Whatever is raised becomes an answer here, in one place."""

import logging
import uuid
from collections.abc import Callable
from typing import Any

from loader.errors import BusyError, LoaderError, RequestError
from loader.log import logger
from loader.redaction import clean_all
from loader.report import Report

OK = 200
DEFECT = 500


def answered(work: Callable[[], dict[str, Any]], report: Report | None = None) -> tuple[dict[str, Any], int]:
    """Do the work; give the answer, without a secret in it, and its status code.

    Args:
        work: gives the answer, or raises.
        report: of a run; its fields are part of an answer that is an error.
    """
    try:
        return clean_all(work()), OK
    except LoaderError as error:
        logger.log(_severity(error), "%s", error)
        failure, code = {"type": error.type, "message": str(error)}, error.http_status
    except Exception:  # noqa: BLE001 - the one place where a defect becomes an answer
        number = uuid.uuid4().hex[:12]
        logger.exception("Defect %s.", number)
        message = f"A defect of this program. The log has its traceback under {number}; please report it."
        failure, code = {"type": "defect", "message": message}, DEFECT
    return clean_all({"error": failure, **(report.answer() if report and report.resource else {})}), code


def _severity(error: LoaderError) -> int:
    return logging.WARNING if isinstance(error, RequestError | BusyError) else logging.ERROR
