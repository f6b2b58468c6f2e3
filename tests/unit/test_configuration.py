"""source_config.py and the environment together: what is wrong is said, and names need no key."""

import os
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

import loader.configuration
from loader import dlt_settings, redaction
from loader.configuration import description_without_key, source_config
from loader.errors import SettingsError
from loader.secret import Placeholders
from loader.settings import Settings, read

VALID = """
NAME = "shop"
RETRIES = {"status_codes": (503,), "backoff_factor": 1, "max_retries": 1}
SCHEDULES = {"default": "H * * * *"}
PAGES_IN_FLIGHT = 2
DELETED_ROWS = "keep"
"""
TWO_SECRETS = (
    VALID
    + """
import dlt
def source_config():
    dlt.secrets["user"], dlt.secrets["password"], dlt.config["tenant"]
    client = {"base_url": "https://x.example.com"}
    return {"client": client, "resources": ["orders", {"name": "items", "endpoint": "i"}]}
"""
)


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give the path of a source_config.py that stands in for the project's."""
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("USER", "PASSWORD", "TENANT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    own = sys.modules.pop("source_config", None)
    yield tmp_path / "source_config.py"
    sys.modules.pop("source_config", None)
    if own:
        sys.modules["source_config"] = own


def settings_for_a_run() -> Settings:
    asked = Placeholders()
    description_without_key(asked)
    return loader.configuration.settings_for_a_run(asked)


def test_names_need_neither_a_key_nor_a_setting(written: Path) -> None:
    written.write_text(TWO_SECRETS)
    description = description_without_key()
    assert (description.name, description.resources()) == ("shop", ["orders", "items"])


def test_secrets_that_are_missing_are_named_all_at_once(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written.write_text(TWO_SECRETS)
    monkeypatch.setenv("DESTINATION", "nowhere")
    with pytest.raises(SettingsError) as raised:
        settings_for_a_run()
    for problem in ("DESTINATION must be", "USER is missing", "PASSWORD is missing", "TENANT is missing"):
        assert problem in str(raised.value)


def test_a_secret_answers_for_secrets_and_not_for_other_values(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written.write_text(TWO_SECRETS)
    monkeypatch.setenv("API_KEY_SECRET", "projects/p/secrets/s/versions/1")
    with pytest.raises(SettingsError, match=r"^The settings are wrong\. TENANT is missing: [^:]*$"):
        settings_for_a_run()


def test_secrets_that_are_there_are_enough(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written.write_text(TWO_SECRETS)
    for name in ("USER", "PASSWORD", "TENANT"):
        monkeypatch.setenv(name, "x")
    assert settings_for_a_run().destination == "filesystem"


ONE_RESOURCE = (
    VALID
    + """
def source_config():
    return {
        "client": {"base_url": "https://shop.example.com"},
        "resources": [
            RESOURCES
        ],
    }
"""
)


def with_resources(*lines: str) -> str:
    """Give a file whose resources begin in line 12."""
    return ONE_RESOURCE.replace("RESOURCES", "\n".join(lines))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("NAME = (", "can't be imported in line 1: SyntaxError: '(' was never closed", id="syntax"),
        pytest.param("import nothing", "can't be imported in line 1: ModuleNotFoundError: No module", id="import"),
        pytest.param("\n\nfoo()", "can't be imported in line 3: NameError: name 'foo' is not", id="import_runs"),
        pytest.param("", "is wrong: it has no source_config", id="empty"),
        pytest.param(with_resources('"a"').replace("NAME", "NAMED"), "is wrong: it has no NAME", id="no_name"),
        pytest.param(VALID + "def source_config(): pass", "source_config() gives nothing: its `return`", id="nothing"),
        pytest.param(VALID + "def source_config(): return {}", "is wrong: 'resources' is missing", id="no_resources"),
        pytest.param(VALID + "def source_config(): 1 / 0", "is wrong in line 7: ZeroDivisionError: div", id="raises"),
        pytest.param(ONE_RESOURCE, "is wrong in line 12: NameError: name 'RESOURCES' is not", id="name_in_function"),
        pytest.param(
            with_resources('{"name": "orders",', '"primry_key": "id"}'),
            "is wrong in line 13: resources[0] has no field 'primry_key' (primary_key?). Correct",
            id="unknown_key",
        ),
        pytest.param(
            with_resources('"items",', '{"name": "orders", "endpoint": {"data_selctor": "data"}}'),
            "is wrong in line 13: resources[1]/endpoint has no field 'data_selctor' (data_selector?). Correct",
            id="unknown_key_within",
        ),
        pytest.param(
            with_resources('{"name": "orders", "endpoint": {"paginator": {"type": "ofset", "limit": 10}}}'),
            "is wrong in line 12: resources[0]/endpoint/paginator: field `type=ofset` is not one of: [",
            id="unknown_value",
        ),
        pytest.param(
            with_resources('{"name": "orders", "endpoint": {"paginator": {"type": "offset", "limit": 1, "lmit": 2}}}'),
            "is wrong in line 12: resources[0]/endpoint/paginator has no field 'lmit' (limit?). Correct",
            id="unknown_key_of_a_kind",
        ),
        pytest.param(
            with_resources(
                '{"name": "a", "endpoint": "{resources.b.id}"},', '{"name": "b", "endpoint": "{resources.a.id}"}'
            ),
            "is wrong in lines 12, 13: resources depend on each other in a circle: ",
            id="circle",
        ),
        pytest.param(
            with_resources('{"name": "a", "endpoint": "{resources.orders.id}"}'),
            "is wrong in line 12: A dependent resource `a` refers to non existing parent resource `orders`",
            id="no_such_parent",
        ),
        pytest.param(
            with_resources('"orders",', '"items",', '{"name": "orders"}'),
            "is wrong in lines 12, 14: Resource `orders` is already defined. Correct",
            id="two_of_one_name",
        ),
        pytest.param(with_resources("{}"), "is wrong: 'name' is missing. Correct", id="resource_without_a_name"),
    ],
)
def test_a_file_that_is_wrong_is_told_in_one_sentence_with_its_line(written: Path, text: str, message: str) -> None:
    written.write_text(text)
    with pytest.raises(SettingsError) as raised:
        description_without_key()
    told = str(raised.value)
    assert message in told
    assert told.startswith("source_config.py ")
    assert told.endswith(". Correct the file.")
    assert "\n" not in told
    assert len(told) < 400


def test_it_is_imported_once(written: Path) -> None:
    written.write_text(VALID)
    module: ModuleType = source_config()
    assert source_config() is module


def test_nothing_is_described_while_a_library_is_half_imported(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written.write_text(TWO_SECRETS)
    half, described = threading.Event(), threading.Event()

    def importing(name: str) -> None:
        # dlt looks at what it finds there
        with monkeypatch.context() as patched:
            patched.setitem(sys.modules, "pandas", ModuleType(name))
            half.set()
            # in vain, for nobody describes anything now
            assert not described.wait(0.2)

    monkeypatch.setattr("loader.dlt_settings.importlib", SimpleNamespace(import_module=importing))
    monkeypatch.setattr(dlt_settings, "_apply", lambda _: None)
    with ThreadPoolExecutor() as pool:
        applied = pool.submit(dlt_settings.apply, "filesystem")
        half.wait()
        description_without_key()
        described.set()
        applied.result()


@pytest.mark.parametrize("said", ['os.environ["API_KEY"]', 'dlt.secrets["crm.token"]', 'dlt.secrets["user"]'])
def test_a_file_that_shows_a_secret_where_it_fails_is_quoted_without_it(
    written: Path, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    monkeypatch.setattr(redaction, "_forms", frozenset())
    monkeypatch.setattr(redaction, "_pattern", None)
    for name in ("API_KEY", "CRM__TOKEN", "USER"):
        monkeypatch.setenv(name, "my-secret-key")
    read(os.environ)
    written.write_text(f"import os, dlt\nint({said})\n")
    with pytest.raises(SettingsError, match="ValueError: invalid literal") as raised:
        source_config()
    assert "my-secret-key" not in redaction.clean(str(raised.value))
