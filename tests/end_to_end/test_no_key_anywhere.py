"""The key, in whatever form, is in no output, answer, table, state or temporary file, however a run ends."""

import base64
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import dlt
import flask
import pytest
import requests
from dlt.pipeline.state_sync import decompress_state

import main
import source_config
from loader import redaction
from loader.chunks import Chunks
from tests.clock import DrivenClock
from tests.sample_api import KEY, Behaviour, Failure, SampleApi, World

APP = flask.Flask(__name__)
pytestmark = pytest.mark.usefixtures("own_log")

SPECIAL = "p&q=r+s/t%u \"v\" 'w' ключ ü"


@dataclass
class Stage:
    """Where a run takes place."""

    api: SampleApi
    elsewhere: SampleApi
    folder: Path
    monkeypatch: pytest.MonkeyPatch
    key: str

    def post(self) -> Any:
        with APP.test_request_context("/", method="POST", json={"resource": "contacts"}):
            return json.loads(main.load(flask.request).data)


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Stage]:
    key = getattr(request, "param", KEY)
    monkeypatch.setattr(redaction, "_forms", frozenset())
    monkeypatch.setattr(redaction, "_pattern", None)
    clock = DrivenClock()
    monkeypatch.setattr(main, "SystemClock", lambda: clock)
    # the working folder stays, to be looked into
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.setattr(tempfile.TemporaryDirectory, "_rmtree", lambda *_, **__: None)
    with ExitStack() as stack:
        api, elsewhere = (stack.enter_context(SampleApi(World({"contacts": 250}), key=key)) for _ in range(2))
        for name, value in {"API_KEY": key, "BASE_URL": api.url, "BUCKET_URL": str(tmp_path / "bucket")}.items():
            monkeypatch.setenv(name, value)
        yield Stage(api, elsewhere, tmp_path, monkeypatch, key)


def failing(what: Any, **more: Any) -> Callable[[Stage], None]:
    return lambda stage: stage.api.world.behave(Behaviour(fail_from=(2, Failure(what, **more))))


def echo(stage: Stage) -> None:
    failing(500, message=f"No access with {stage.key}.")(stage)


def redirect(stage: Stage) -> None:
    location = stage.elsewhere.url.replace("127.0.0.1", "localhost") + "/v1/contacts?api_key=" + quote(stage.key)
    failing("redirect", location=location)(stage)


def refuse(stage: Stage) -> None:
    stage.monkeypatch.setenv("BASE_URL", "http://127.0.0.1:9")


def unknown_host(stage: Stage) -> None:
    stage.monkeypatch.setenv("BASE_URL", "http://api.invalid")


def no_tls(stage: Stage) -> None:
    stage.monkeypatch.setenv("BASE_URL", stage.api.url.replace("http:", "https:"))


def hang(stage: Stage) -> None:
    failing("hang")(stage)
    stage.monkeypatch.setenv("TIMEOUT_SECONDS", "3")


def bad_bucket(stage: Stage) -> None:
    (stage.folder / "file").write_text("")
    stage.monkeypatch.setenv("BUCKET_URL", str(stage.folder / "file" / "bucket"))


def bad_credentials(stage: Stage) -> None:
    stage.monkeypatch.setenv("DESTINATION", "bigquery")
    stage.monkeypatch.setenv("DESTINATION__BIGQUERY__CREDENTIALS", json.dumps({"client_email": stage.key}))


def defect(stage: Stage) -> None:
    def load(*_: Any) -> None:
        raise RuntimeError(f"https://api.example.com/?api_key={quote_plus(stage.key)} and {stage.key}")

    stage.monkeypatch.setattr(Chunks, "load", load)


def header(stage: Stage) -> None:
    original = source_config.source_config

    def with_header() -> Any:
        config: Any = original()
        config["client"]["headers"] = {"X-Api-Key": f"ключ {stage.key}"}
        return config

    stage.monkeypatch.setattr(source_config, "source_config", with_header)


RUNS: list[Any] = [
    pytest.param(lambda _: None, None, "", id="well"),
    pytest.param(failing(401), "api", "answered 401", id="401"),
    pytest.param(failing(403), "api", "answered 403", id="403"),
    pytest.param(failing(404), "api", "answered 404", id="404"),
    pytest.param(failing(429), "api", "answered 429", id="429"),
    pytest.param(failing(500), "api", "answered 500", id="500_for_good"),
    pytest.param(echo, "api", "answered 500", id="500_that_echoes_the_key"),
    pytest.param(failing("reset"), "api", "could not be reached after 3 retries", id="reset"),
    pytest.param(failing("html"), "api", "something that is no JSON", id="html"),
    pytest.param(failing("error_body"), "api", "the answer has no 'data'", id="200_with_an_error"),
    pytest.param(redirect, "api", "redirects to another host", id="redirect_to_another_host"),
    pytest.param(failing("redirect", location="/v1/contacts"), "api", "redirects in a circle", id="redirects"),
    pytest.param(header, "api", "a header has a character that HTTP does not allow", id="header"),
    pytest.param(refuse, "api", "could not be reached after 3 retries", id="refused"),
    pytest.param(unknown_host, "api", "could not be reached after 3 retries", id="unknown_host"),
    pytest.param(no_tls, "api", "could not be reached after 3 retries", id="tls"),
    pytest.param(bad_bucket, "destination", "The destination failed with", id="bad_bucket"),
    pytest.param(bad_credentials, "destination", "The destination failed with", id="bad_credentials"),
    pytest.param(defect, "defect", "A defect of this program", id="defect"),
]
LEVELS = [pytest.param("INFO", marks=pytest.mark.long), "DEBUG"]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(("set_up", "error", "message"), RUNS)
def test_however_a_run_ends_it_says_why_and_its_key_is_nowhere(
    stage: Stage,
    set_up: Callable[[Stage], None],
    error: str | None,
    message: str,
    level: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    stage.monkeypatch.setenv("LOG_LEVEL", level)
    set_up(stage)
    answer = stage.post()
    assert answer.get("error", {}).get("type") == error, answer
    assert message in answer.get("error", {}).get("message", "")
    assert stage.elsewhere.requests == []
    said = "".join(capfd.readouterr())
    assert level == "INFO" or not stage.api.requests or "HTTP/1.1" in said
    assert leaks(stage, said + json.dumps(answer, ensure_ascii=False)) == []


@pytest.mark.parametrize("stage", [SPECIAL, "k-7"], indirect=True, ids=["special_characters", "short"])
@pytest.mark.parametrize("set_up", [lambda _: None, echo, refuse, redirect, defect])
def test_a_key_of_any_characters_and_length_is_nowhere(
    stage: Stage, set_up: Callable[[Stage], None], capfd: pytest.CaptureFixture[str]
) -> None:
    stage.monkeypatch.setenv("LOG_LEVEL", "DEBUG")
    set_up(stage)
    answer = stage.post()
    said = "".join(capfd.readouterr())
    assert leaks(stage, said + json.dumps(answer, ensure_ascii=False)) == []


@pytest.mark.parametrize("stage", [SPECIAL], indirect=True)
@pytest.mark.parametrize(
    ("style", "auth"),
    [
        ("header", {"type": "api_key", "name": "X-Api-Key", "location": "header"}),
        ("bearer", {"type": "bearer"}),
        ("basic", {"type": "http_basic", "username": "me"}),
    ],
    ids=["header", "bearer", "basic"],
)
def test_a_key_in_a_header_is_nowhere_and_does_not_follow_a_redirect(
    stage: Stage, style: Any, auth: dict[str, str], capfd: pytest.CaptureFixture[str]
) -> None:
    secret = {"api_key": "api_key", "bearer": "token", "http_basic": "password"}[auth["type"]]
    # what HTTP can send in a header as it is
    plain = stage.key if style == "basic" else "a/latin+key=ü"
    stage.key = stage.api.key = plain
    stage.monkeypatch.setenv("API_KEY", plain)
    stage.monkeypatch.setenv("LOG_LEVEL", "DEBUG")
    original = source_config.source_config

    def with_header() -> Any:
        config: Any = original()
        config["client"]["auth"] = {**auth, secret: plain}
        return config

    stage.monkeypatch.setattr(source_config, "source_config", with_header)
    location = stage.elsewhere.url.replace("127.0.0.1", "localhost") + "/v1/contacts"
    stage.api.world.behave(Behaviour(auth=style, fail_from=(2, Failure("redirect", location=location))))
    answer = stage.post()
    assert "redirects to another host" in answer["error"]["message"]
    assert stage.elsewhere.requests == []
    said = "".join(capfd.readouterr())
    assert leaks(stage, said + json.dumps(answer, ensure_ascii=False)) == []


@pytest.mark.parametrize("way", ["sections", "environment", "literal"])
def test_a_key_that_comes_from_elsewhere_is_nowhere(stage: Stage, way: str, capfd: pytest.CaptureFixture[str]) -> None:
    stage.monkeypatch.setenv("LOG_LEVEL", "DEBUG")
    original, key = source_config.source_config, stage.key
    stage.monkeypatch.setenv("CRM__TOKEN", key if way == "sections" else "another")

    def with_its_own_key() -> Any:
        config: Any = original()
        stage.monkeypatch.setenv("OTHER", key)
        from_there: dict[str, Callable[[], str]] = {
            "sections": lambda: dlt.secrets["crm.token"],
            "environment": lambda: os.environ["OTHER"],
        }
        config["client"]["auth"]["api_key"] = from_there.get(way, lambda: key)()
        return config

    stage.monkeypatch.setenv("API_KEY", "not-the-key")
    stage.monkeypatch.setattr(source_config, "source_config", with_its_own_key)
    answer = stage.post()
    assert answer["status"] == "complete"
    assert leaks(stage, "".join(capfd.readouterr()) + json.dumps(answer)) == []


def test_a_key_does_not_follow_a_link_to_another_host(stage: Stage) -> None:
    original = source_config.source_config
    elsewhere = stage.elsewhere.url.replace("127.0.0.1", "localhost").encode()

    def lead_away(response: requests.Response, *_: Any, **__: Any) -> requests.Response:
        response._content = response.content.replace(stage.api.url.encode(), elsewhere)  # noqa: SLF001 - as if sent so
        return response

    def linked() -> Any:
        config: Any = original()
        for resource in config["resources"]:
            resource["endpoint"] |= {"paginator": {"type": "json_link", "next_url_path": "next"}}
            resource["endpoint"] |= {"response_actions": [lead_away]}
        return config

    stage.monkeypatch.setattr(source_config, "source_config", linked)
    stage.api.world.behave(Behaviour(style="json_link"))
    answer = stage.post()
    assert (answer["error"]["type"], answer["place"]) == ("api", None)
    assert "links to one, and the key is not sent there" in answer["error"]["message"]
    assert stage.elsewhere.requests == []


def test_rows_are_in_no_log_and_no_answer(stage: Stage, capfd: pytest.CaptureFixture[str]) -> None:
    stage.monkeypatch.setenv("LOG_LEVEL", "DEBUG")
    failing(500)(stage)
    answer = stage.post()
    said = "".join(capfd.readouterr()) + json.dumps(answer)
    emails = [row["email"] for row in stage.api.world.snapshot("contacts")]
    assert [email for email in emails if email in said] == []


def test_the_search_finds_a_key_that_leaks(stage: Stage, capfd: pytest.CaptureFixture[str]) -> None:
    stage.monkeypatch.setattr(redaction, "clean", lambda text: text)
    stage.monkeypatch.setenv("LOG_LEVEL", "DEBUG")
    stage.post()
    assert leaks(stage, "".join(capfd.readouterr())) == ["output: the key as it is"]
    (stage.folder / "bucket" / "note").write_text("user " + base64.b64encode(f"me:{stage.key}".encode()).decode())
    assert leaks(stage, "") == ["note: base64"]


def leaks(stage: Stage, said: str) -> list[str]:
    """Tell in what the key was found, and in which form."""
    texts = {"output": said, **{path.name: _text(path) for path in stage.folder.rglob("*") if path.is_file()}}
    key, data = stage.key, stage.key.encode()
    lower = re.sub(r"%..", lambda code: code.group().lower(), quote(key, safe=""))
    alone = len(key) < redaction.SHORT
    forms = {
        "the key as it is": rf"(?<!\w){re.escape(key)}(?!\w)" if alone else re.escape(key),
        "URL": "|".join(map(re.escape, {quote(key), quote(key, safe=""), quote_plus(key), lower} - {key})) or "(?!)",
        "JSON": re.escape(json.dumps(key)[1:-1]) if json.dumps(key)[1:-1] != key else "(?!)",
        "base64": "(?!)"
        if alone
        else "|".join(
            re.escape(base64.b64encode(bytes(before) + data)[4 * bool(before) : -4].decode()) for before in range(3)
        ),
    }
    return [
        f"{where}: {form}"
        for where, text in texts.items()
        for form, pattern in forms.items()
        if re.search(pattern, text)
    ]


def _text(path: Path) -> str:
    text = path.read_bytes().decode(errors="replace")
    states = re.findall(r'"state":\s*"([\w+/=]{40,})"', text)
    return text + "".join(json.dumps(decompress_state(state), ensure_ascii=False) for state in states)
