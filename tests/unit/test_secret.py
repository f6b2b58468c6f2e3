"""The key: where it comes from, what a payload means, and what is said when it can't be read."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import dlt
import pytest

from loader import redaction, secret
from loader.clock import SystemClock
from loader.deadline import Deadline
from loader.errors import SettingsError
from loader.secret import Placeholders, SecretManager, answering, parse

VERSION = "projects/p/secrets/s/versions/1"
DEADLINE = Deadline.of(60, SystemClock())


@pytest.fixture(autouse=True)
def nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CLIENT_ID", "CLIENT_SECRET"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(redaction, "_forms", frozenset())


@pytest.fixture
def payload(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], list[str]]:
    """Let a payload be fetched; gives the versions that were."""

    def is_fetched(data: bytes) -> list[str]:
        fetched: list[str] = []

        def fetch(version: str, _: Deadline) -> bytes:
            fetched.append(version)
            return data

        monkeypatch.setattr(secret, "fetch", fetch)
        return fetched

    return is_fetched


@pytest.mark.parametrize(
    ("data", "secrets"),
    [
        pytest.param(b"key", {"api_key": "key"}, id="plain"),
        pytest.param(b"key\n", {"api_key": "key"}, id="trailing_newline"),
        pytest.param(b"key\r\n", {"api_key": "key"}, id="trailing_newline_of_windows"),
        pytest.param(b"key\n\n", {"api_key": "key\n"}, id="one_newline_only"),
        pytest.param(b" key ", {"api_key": " key "}, id="spaces_are_part_of_it"),
        pytest.param("schlüssel".encode(), {"api_key": "schlüssel"}, id="utf8"),
        pytest.param(b"[1, 2]", {"api_key": "[1, 2]"}, id="json_list"),
        pytest.param(b'"key"', {"api_key": '"key"'}, id="json_text"),
        pytest.param(b"007", {"api_key": "007"}, id="number"),
        pytest.param(b'{"a": "x", "b": 5, "c": {"d": 1}}', {"a": "x", "b": "5", "c": '{"d": 1}'}, id="json_object"),
        pytest.param(b"{}", {}, id="empty_object"),
    ],
)
def test_a_payload_is_the_key_or_an_object_of_several(data: bytes, secrets: dict[str, str]) -> None:
    assert parse(data, VERSION) == secrets


@pytest.mark.parametrize("data", [b"", b"\n", b"\xff"])
def test_a_malformed_payload_names_its_version_and_what_to_do(data: bytes) -> None:
    with pytest.raises(SettingsError, match=f"{VERSION} is malformed.*Add a version"):
        parse(data, VERSION)


LIKE_NUMBERS = ["007", "123456789", "1e5", "1.50", "true", "False", "-0", "inf", "nan"]


@pytest.mark.parametrize("key", LIKE_NUMBERS)
def test_a_key_that_looks_like_a_number_stays_as_it_is(
    key: str, monkeypatch: pytest.MonkeyPatch, payload: Callable[[bytes], list[str]]
) -> None:
    payload(key.encode())
    with answering(SecretManager(VERSION, DEADLINE)):
        assert dlt.secrets["api_key"] == key
    monkeypatch.setenv("API_KEY", key)
    with answering(SecretManager(None, DEADLINE)):
        assert dlt.secrets["api_key"] == key


def test_an_object_in_an_object_is_read_as_dlt_reads_it(payload: Callable[[bytes], list[str]]) -> None:
    payload(b'{"account": {"user": "u"}}')
    with answering(SecretManager(VERSION, DEADLINE)):
        assert dlt.secrets["account"] == {"user": "u"}


def test_the_version_is_fetched_once_in_each_invocation_and_only_if_asked_for(
    payload: Callable[[bytes], list[str]],
) -> None:
    fetched = payload(b'{"client_id": "i", "client_secret": "s"}')
    with answering(SecretManager(VERSION, DEADLINE)):
        assert fetched == []
        assert (dlt.secrets["client_id"], dlt.secrets["client_secret"]) == ("i", "s")
    assert fetched == [VERSION]
    with answering(SecretManager(VERSION, DEADLINE)):
        assert dlt.secrets["client_id"] == "i"
    assert fetched == [VERSION, VERSION]


def test_a_variable_wins_and_nothing_is_fetched(
    monkeypatch: pytest.MonkeyPatch, payload: Callable[[bytes], list[str]]
) -> None:
    fetched = payload(b"from-the-secret")
    monkeypatch.setenv("API_KEY", "from-the-variable")
    with answering(SecretManager(VERSION, DEADLINE)):
        assert dlt.secrets["api_key"] == "from-the-variable"
    assert fetched == []


def test_an_empty_variable_is_an_unset_one(
    monkeypatch: pytest.MonkeyPatch, payload: Callable[[bytes], list[str]]
) -> None:
    payload(b"from-the-secret")
    monkeypatch.setenv("API_KEY", "")
    with answering(SecretManager(VERSION, DEADLINE)):
        assert dlt.secrets["api_key"] == "from-the-secret"


def test_every_secret_that_was_given_is_kept_out_of_texts(
    monkeypatch: pytest.MonkeyPatch, payload: Callable[[bytes], list[str]]
) -> None:
    payload(b'{"client_id": "first-value", "client_secret": "second-value"}')
    monkeypatch.setenv("API_KEY", "third-value")
    with answering(SecretManager(VERSION, DEADLINE)):
        assert (dlt.secrets["client_id"], dlt.secrets["api_key"]) == ("first-value", "third-value")
    assert redaction.clean("first-value second-value third-value") == "*** *** ***"


def test_outside_of_a_run_nothing_answers(payload: Callable[[bytes], list[str]]) -> None:
    fetched = payload(b"key")
    with answering(SecretManager(VERSION, DEADLINE)):
        pass
    assert dlt.secrets.get("api_key") is None
    assert fetched == []


def test_placeholders_answer_any_secret_and_remember_what_was_asked() -> None:
    placeholders = Placeholders()
    with answering(placeholders):
        assert dlt.secrets["client_id"]
        assert dlt.config.get("base_url") is None
    assert placeholders.asked == ["client_id"]
    assert redaction.clean("placeholder") == "placeholder"


def test_a_payload_that_does_not_fit_its_checksum_is_malformed() -> None:
    answer: Any = SimpleNamespace(payload=SimpleNamespace(data=b"key", data_crc32c=1))
    with pytest.raises(SettingsError, match="checksum"):
        secret._check_crc(answer, VERSION)  # noqa: SLF001 - Google's client would not let a wrong one through
