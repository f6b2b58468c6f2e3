"""The source as the customer's letter gives it, value by value."""

from typing import Any

import pytest

import source_config

RESOURCES = ["conversations", "contacts", "conversation_parts", "teams", "companies"]


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("API_KEY", "the-key")
    return source_config.source_config()


def test_the_client_signs_in_with_the_key_in_the_query(config: Any) -> None:
    assert config["client"] == {
        "base_url": "https://api.example.com",
        "auth": {"type": "api_key", "name": "api_key", "api_key": "the-key", "location": "query"},
    }


def test_the_address_can_be_overridden(monkeypatch: pytest.MonkeyPatch, config: Any) -> None:
    monkeypatch.setenv("BASE_URL", "http://127.0.0.1:8080")
    assert source_config.source_config()["client"] == {**config["client"], "base_url": "http://127.0.0.1:8080"}


def test_rows_are_merged_by_id(config: Any) -> None:
    assert config["resource_defaults"] == {"primary_key": "id", "write_disposition": "merge"}


def test_there_are_five_resources_read_by_offset_in_pages_of_100(config: Any) -> None:
    assert config["resources"] == [
        {
            "name": name,
            "endpoint": {
                "path": f"/v1/{name}",
                "data_selector": "data",
                "paginator": {"type": "offset", "limit": 100},
            },
        }
        for name in RESOURCES
    ]
    assert set(config) == {"client", "resource_defaults", "resources"}


def test_what_stands_beside_it() -> None:
    assert source_config.NAME == "analytics"
    assert source_config.RETRIES == {
        "status_codes": (429, 500, 502, 503, 504),
        "backoff_factor": 2,
        "max_retries": 3,
    }
    assert source_config.PAGES_IN_FLIGHT == 4
    assert source_config.SCHEDULES == {"default": "H * * * *"}
    assert source_config.DELETED_ROWS == "keep"
