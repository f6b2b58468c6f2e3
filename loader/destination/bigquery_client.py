"""Google's BigQuery client; each of its waits ends by the deadline, and where BigQuery refuses, it waits itself.

Nothing in dlt or in Google's client bounds a query or a load job as a whole, and both try again after a second or two,
which is too early for BigQuery's limits (they count in windows of 10 s). So what is raised here in the end is an error
that dlt does not retry.
"""

import random
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import requests
from dlt.common.destination.exceptions import DestinationTerminalException
from google.api_core.exceptions import BadRequest, Conflict, GoogleAPICallError, from_http_response
from google.auth.exceptions import GoogleAuthError, TransportError
from google.auth.transport.requests import AuthorizedSession
from google.cloud import bigquery
from tenacity import RetryCallState, Retrying, retry_if_exception

from loader.deadline import Deadline, in_time
from loader.errors import DestinationError
from loader.log import logger

WAIT_SECONDS = (10.0, 20.0)
"""Least and most seconds to wait after a refusal; between them by chance, so that several runs don't return at once."""

SILENT_SECONDS = 60.0
"""So long is the answer to a request waited for, where Google's client does not say."""

POLL_SECONDS = (0.1, 2.0)
"""First and longest pause between two looks at a load job."""

REASONS = frozenset(
    {
        "rateLimitExceeded",
        "jobRateLimitExceeded",
        "quotaExceeded",
        "backendError",
        "jobBackendError",
        "internalError",
        "jobInternalError",
        "badGateway",
    }
)
"""Reasons that pass by themselves (https://cloud.google.com/bigquery/docs/error-messages)."""

STATUS_CODES = frozenset({429, 500, 502, 503, 504})
"""Answers that pass by themselves."""

NETWORK = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)

NEVER: Any = None
"""Google's own retries are off: ours stand around the session."""

_Result = TypeVar("_Result")


class RefusedError(DestinationError, DestinationTerminalException):
    """BigQuery refused, or did not answer in time; dlt does not try it again."""


class BoundedSession(AuthorizedSession):
    """Google's HTTP session; a request ends by the deadline, and one that was refused is sent again after a while."""

    def __init__(self, credentials: Any, deadline: Deadline) -> None:
        super().__init__(credentials)  # type: ignore[no-untyped-call]
        self._deadline = deadline

    def request(self, method: Any, url: Any, *args: Any, **kwargs: Any) -> requests.Response:
        """Send a request.

        Raises:
            RefusedError: it was not answered in time, or refused for as long as there was time, or there is no token.
        """
        try:
            response: requests.Response = patiently(lambda: self._send(method, url, args, kwargs), self._deadline)
        except GoogleAuthError as error:
            raise refused(error) from error
        return response

    def _send(self, method: str, url: str, args: Any, kwargs: dict[str, Any]) -> requests.Response:
        left = self._deadline.left()
        if not left:
            raise too_late("There was no time left for the next request.")
        given = kwargs.get("timeout")
        patience = min(given if isinstance(given, int | float) else SILENT_SECONDS, left)
        send: Callable[..., requests.Response] = super().request
        response = in_time(
            lambda: send(method, url, *args, **{**kwargs, "timeout": patience}),
            self._deadline,
            late=lambda _: too_late(f"A request ({method}) was not answered."),
        )
        # an answer of `getQueryResults` speaks of the job, which asking again does not change
        if response.status_code >= requests.codes.bad_request and "/queries/" not in url:
            error = from_http_response(response)  # type: ignore[no-untyped-call]
            if passing(error):
                raise error
        return response


class BoundedClient(bigquery.Client):
    """Google's client, as dlt uses it."""

    def __init__(
        self,
        project: str,
        credentials: Any,
        location: str,
        deadline: Deadline,
        before_write: Callable[["BoundedClient"], None],
    ) -> None:
        super().__init__(project, credentials=credentials, location=location)
        self._http_internal = BoundedSession(self._credentials, deadline)
        self._deadline = deadline
        self._before_write = before_write
        self.before_script: Callable[[str], None] = lambda _: None
        """Called with the id of a job that changes something, before the job is made."""

    def query_and_wait(self, query: str, *, job_config: Any = None, page_size: int | None = None, **_: Any) -> Any:
        """Run a query, and wait for its rows; where it fails for a reason that passes, run it again.

        It is a job with an id of ours, so that a request whose answer was lost does not begin it twice, and it is left
        to finish when the time is up: a merge that is cancelled half way has done the half of it all the same.

        Raises:
            RefusedError: it did not end in time.
            GoogleAPICallError: it failed.
        """
        return patiently(lambda: self._query_once(query, job_config, page_size), self._deadline)

    def try_out(self, statement: str) -> None:
        """Let BigQuery judge a statement, permissions and all, without running it.

        Raises:
            RefusedError: it would refuse it.
        """
        with refusals():
            self.query(statement, job_config=bigquery.QueryJobConfig(dry_run=True), retry=NEVER, job_retry=None)

    def load_table_from_file(self, file_obj: Any, *args: Any, job_id: str, **kwargs: Any) -> Any:  # type: ignore[override]
        """Load a file, and wait for the job; where it fails for a reason that passes, load it again.

        Raises:
            RefusedError: it failed, or did not end in time.
        """
        job_ids = iter(range(1, 1_000_000))

        def load() -> Any:
            self._before_write(self)
            file_obj.seek(0)
            # the id of a job that has failed is used up
            number = next(job_ids)
            return self._load_once(
                file_obj, args, {**kwargs, "job_id": job_id if number == 1 else f"{job_id}_{number}"}
            )

        with refusals():
            return patiently(load, self._deadline)

    def _query_once(self, query: str, job_config: Any, page_size: int | None) -> Any:
        job: Any
        job_id = f"loader_{uuid.uuid4().hex}"
        if not query.lstrip().upper().startswith("SELECT"):
            self._before_write(self)
            self.before_script(job_id)
        try:
            job = self.query(query, job_config=job_config, job_id=job_id, retry=NEVER, job_retry=None)
        except Conflict:
            job = self.get_job(job_id, retry=NEVER)
        return self._rows_of(job, page_size)

    def _rows_of(self, job: Any, page_size: int | None) -> Any:
        while True:
            try:
                return job.result(page_size=page_size, retry=NEVER, job_retry=None)
            except GoogleAPICallError as error:
                # the answer does not tell whether the job failed, or only the question how it is
                if job.done(retry=NEVER) and (failure := job.exception()):
                    raise failure from error
                if not passing(error):
                    raise
                self._deadline.clock.sleep(min(POLL_SECONDS[1], self._deadline.left()))

    def _load_once(self, file_obj: Any, args: Any, kwargs: Any) -> Any:
        job: Any
        try:
            job = super().load_table_from_file(file_obj, *args, **kwargs)
        except Conflict:
            job = self.get_job(kwargs["job_id"], retry=NEVER)
        self.wait_for(job)
        if job.error_result:
            raise job.exception()
        return job

    def wait_for(self, job: Any) -> None:
        """Wait until a job is done.

        Raises:
            RefusedError: it was not in time.
        """
        pause, longest = POLL_SECONDS
        while not job.done(retry=NEVER):
            self._deadline.clock.sleep(min(pause, self._deadline.left()))
            pause = min(2 * pause, longest)

    def _ensure_bqstorage_client(self, *_: Any, **__: Any) -> None:
        """Give none: its channel would be one more thing to wait for, and what is read here is a row or two."""


def patiently(work: Callable[[], _Result], deadline: Deadline) -> _Result:
    """Do the work, and again after a while where it fails for a reason that passes by itself.

    Raises:
        RefusedError: the next wait would not end by the deadline.
    """

    def wait(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        seconds = random.uniform(*WAIT_SECONDS)  # noqa: S311 - no secret
        if seconds >= deadline.left():
            raise refused(error) from error
        logger.warning("BigQuery refuses (%s); the next try follows in %.0f s.", passing(error), seconds)
        return seconds

    retrying = Retrying(
        retry=retry_if_exception(lambda error: bool(passing(error))), wait=wait, sleep=deadline.clock.sleep
    )
    return retrying(work)


@contextmanager
def refusals(unless: type[GoogleAPICallError] | tuple[()] = ()) -> Iterator[None]:
    """Turn what Google's client raises, `unless` it is such an error, into ours.

    Raises:
        RefusedError: BigQuery refused.
    """
    try:
        yield
    except unless:
        raise
    except GoogleAPICallError as error:
        raise refused(error) from error


def passing(error: BaseException | None) -> str:
    """Give the reason of an error that passes by itself; empty if it is none."""
    if isinstance(error, GoogleAPICallError):
        reason = reason_of(error)
        return (reason or str(error.code)) if reason in REASONS or error.code in STATUS_CODES else ""
    if isinstance(error, GoogleAuthError):
        # the machine's own server of tokens was not reached
        is_passing = error.retryable or isinstance(error.__cause__, TransportError)
    else:
        is_passing = isinstance(error, NETWORK)
    return type(error).__name__ if is_passing else ""


def reason_of(error: GoogleAPICallError) -> str:
    """Give BigQuery's word for what went wrong."""
    return str(error.errors[0].get("reason") or "") if error.errors else ""


def refused(error: BaseException | None) -> RefusedError:
    """Say that BigQuery refused, why, and what to do."""
    reason = (reason_of(error) if isinstance(error, GoogleAPICallError) else "") or type(error).__name__
    # a job that was wrong in itself says so with the values of rows, and no row belongs into a log
    shows_values = isinstance(error, BadRequest)
    first_line = str(error).strip().split("\n", 1)[0][:300].rstrip(".")
    said = "its own words may repeat rows, so only its console shows them" if shows_values else first_line
    return RefusedError(
        f"BigQuery refused ({reason}): {said}. The place stays where it is, and the next run goes on there. "
        f"{_ADVICE.get(reason, _ADVICE[''])}"
    )


def too_late(what: str) -> RefusedError:
    """Say that BigQuery was too slow."""
    return RefusedError(
        f"BigQuery was too slow: {what} What it was doing is left to finish; the place stays where it is, and the next "
        "run goes on there. If that happens again, raise TIMEOUT_SECONDS (and the function's own timeout)."
    )


_LIMIT = (
    "A limit of BigQuery's is reached: run less often, or fewer resources at once; the console shows it under Quotas."
)
_ACCOUNT = (
    "Google gave no valid token for this function's service account: see that it exists and is not disabled. "
    "A token that has expired is renewed by itself."
)
_FORGET = (
    "Delete the rows of this resource in `_dlt_version`, in the data set and in its _staging: "
    "what is missing is then made again"
)
_BY_HAND = (
    "If somebody changed a table by hand, drop the columns whose type was changed, in the data set and in its "
    f"_staging. {_FORGET}, and a restart brings all values back."
)
_ADVICE = {
    "rateLimitExceeded": _LIMIT,
    "jobRateLimitExceeded": _LIMIT,
    "quotaExceeded": _LIMIT,
    "RefreshError": _ACCOUNT,
    "authError": _ACCOUNT,
    "accessDenied": "This function's service account needs roles/bigquery.jobUser on the project, and "
    "roles/bigquery.dataEditor on both data sets.",
    "notFound": f"A table or data set that was there is gone. {_FORGET}.",
    "invalid": _BY_HAND,
    "invalidQuery": _BY_HAND,
    "": "Look at the data set, and at what this function's service account may do in it.",
}
"""What to do, by BigQuery's reason, or the error's name where it gives none."""
