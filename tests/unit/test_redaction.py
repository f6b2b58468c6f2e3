"""Redaction: a secret is taken out of any text by its value, in each form in which it can appear."""

import base64
import json
from urllib.parse import quote, quote_plus, urlencode

import pytest
import requests

from loader import redaction

KEYS = [
    "plain-key",
    "a key with spaces",
    "a+b/c=d&e%f",
    'quo"te and \\backslash',
    "it's",
    "ключ-значение",
    "line\nbreak",
    "007",
]


@pytest.fixture(autouse=True)
def nothing_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_forms", frozenset())
    monkeypatch.setattr(redaction, "_pattern", None)


@pytest.mark.parametrize("key", KEYS)
def test_a_secret_is_taken_out_in_each_form(key: str) -> None:
    redaction.remember([key])
    url = requests.Request("GET", "https://api.example.com/v1", params={"api_key": key, "limit": 1}).prepare().url
    forms = {
        "as it is": key,
        "in a URL": url,
        "quoted": quote(key),
        "quoted whole": quote(key, safe=""),
        "as a form": urlencode({"k": key}),
        "plus": quote_plus(key),
        "JSON": json.dumps({"k": key}),
        "JSON with letters": json.dumps({"k": key}, ensure_ascii=False),
        "repr": repr(key),
        "Base64": base64.b64encode(key.encode()).decode(),
    }
    for name, form in forms.items():
        cleaned = redaction.clean(f"<{form}>")
        assert "***" in cleaned, name
        assert key not in cleaned, name
        assert quote(key, safe="") not in cleaned, name


def test_a_secret_that_holds_another_is_taken_out_whole() -> None:
    redaction.remember(["key", "key-and-more"])
    assert redaction.clean("key-and-more key") == "*** ***"


def test_an_empty_secret_hides_nothing() -> None:
    redaction.remember([""])
    assert redaction.clean("a text") == "a text"


def test_a_rotated_key_stays_a_secret() -> None:
    redaction.remember(["old-key"])
    redaction.remember(["new-key"])
    assert redaction.clean("old-key new-key") == "*** ***"


def test_answers_are_cleaned_at_any_depth() -> None:
    redaction.remember(["hush"])
    assert redaction.clean_all({"a": ["hush", {"b hush": ("hush!", 1, None, True)}]}) == {
        "a": ["***", {"b ***": ["***!", 1, None, True]}]
    }


@pytest.mark.parametrize("user", ["", "u", "us", "use", "user@example.com"])
def test_a_password_is_taken_out_of_basic_credentials_whoever_the_user_is(user: str) -> None:
    redaction.remember(["pass-word-ü"])
    credentials = base64.b64encode(f"{user}:pass-word-ü".encode()).decode()
    cleaned = redaction.clean(credentials)
    assert "***" in cleaned
    # what is left beside the mask are the user and at most the edges of the password
    assert len(cleaned.replace("***", "").rstrip("=")) <= (len(user) + 1) * 4 / 3 + 2


def test_credentials_in_a_header_are_taken_out_whoever_has_made_them() -> None:
    assert (
        redaction.clean("{'Authorization': 'Bearer ab.c-d', 'X': 'y'}") == "{'Authorization': 'Bearer ***', 'X': 'y'}"
    )
    assert redaction.clean("authorization: basic dXNlcjpwYXNz") == "authorization: basic ***"


def test_a_short_secret_is_taken_out_where_it_stands_alone() -> None:
    redaction.remember(["12"])
    assert redaction.clean("?api_key=12&limit=1200 key 12: 112 rows") == "?api_key=***&limit=1200 key ***: 112 rows"


def test_lower_case_percent_encoding_is_the_same_secret() -> None:
    redaction.remember(["a key/of mine"])
    assert redaction.clean("a%20key%2fof%20mine") == "***"


def test_the_texts_in_a_secret_that_is_a_json_object_are_secrets_too() -> None:
    redaction.remember([json.dumps({"client": {"id": "my-client-id", "secrets": ["my-first-secret"]}, "port": 443})])
    assert redaction.clean("my-client-id, my-first-secret, 443") == "***, ***, 443"
