"""The environment: what each variable may be, and that all that is wrong is named at once."""

import pytest

from loader.errors import SettingsError
from loader.settings import Settings

QUEUE = "projects/p/locations/europe-west1/queues/loads"
ALL = {
    "API_KEY": "k",
    "API_KEY_SECRET": "projects/p/secrets/s/versions/latest",
    "BASE_URL": "http://127.0.0.1:8080/api",
    "DESTINATION": "bigquery",
    "BUCKET_URL": "gs://bucket/folder",
    "DATASET_NAME": "crm_2",
    "TIMEOUT_SECONDS": "3600",
    "TASKS_QUEUE": QUEUE,
    "TASKS_SERVICE_ACCOUNT": "runner@p.iam.gserviceaccount.com",
    "FUNCTION_URL": "https://f.example.com/",
    "LOG_LEVEL": "DEBUG",
}


def test_nothing_needs_to_be_set() -> None:
    settings = Settings.from_env({})
    assert settings == Settings(
        api_key=None,
        api_key_secret=None,
        base_url=None,
        destination="filesystem",
        bucket_url="./data",
        dataset_name="analytics",
        timeout_seconds=540.0,
        tasks_queue=None,
        tasks_service_account=None,
        function_url=None,
        log_level="INFO",
    )


def test_each_variable_sets_the_field_of_its_name() -> None:
    settings = Settings.from_env(ALL)
    assert {name: str(getattr(settings, name.lower())) for name in ALL} == {**ALL, "TIMEOUT_SECONDS": "3600.0"}


def test_an_empty_variable_is_an_unset_one() -> None:
    assert Settings.from_env(dict.fromkeys(ALL, "")) == Settings()


def test_other_variables_are_nobody_s_business() -> None:
    assert Settings.from_env({"PATH": "/bin", "NORMALIZE__WORKERS": "1"}) == Settings()


def test_a_key_in_the_wrong_variable_is_not_shown() -> None:
    with pytest.raises(SettingsError, match="API_KEY_SECRET must be projects/P/secrets/S/versions/V") as wrong:
        Settings.from_env({"API_KEY_SECRET": "the/key-itself"})
    assert "the/key-itself" not in str(wrong.value)


WRONG = [
    ("API_KEY_SECRET", "projects/p/secrets/s/latest"),
    ("API_KEY_SECRET", "projects/p/secrets/s"),
    ("BASE_URL", "api.example.com"),
    ("BASE_URL", "ftp://api.example.com"),
    ("BASE_URL", "https://"),
    ("DESTINATION", "BigQuery"),
    ("BUCKET_URL", "s3://bucket"),
    ("BUCKET_URL", "gs://"),
    ("DATASET_NAME", "my-data"),
    ("DATASET_NAME", "1data"),
    ("DATASET_NAME", "../data"),
    ("TIMEOUT_SECONDS", "soon"),
    ("TIMEOUT_SECONDS", "0"),
    ("TIMEOUT_SECONDS", "-5"),
    ("TIMEOUT_SECONDS", "nan"),
    ("TIMEOUT_SECONDS", "inf"),
    ("TIMEOUT_SECONDS", "604801"),
    ("TASKS_QUEUE", "loads"),
    ("TASKS_SERVICE_ACCOUNT", "runner"),
    ("FUNCTION_URL", "f.example.com"),
    ("LOG_LEVEL", "loud"),
]


@pytest.mark.parametrize(("name", "value"), [pytest.param(*pair, id="=".join(pair)) for pair in WRONG])
def test_a_wrong_value_is_refused_and_shown(name: str, value: str) -> None:
    with pytest.raises(SettingsError) as raised:
        Settings.from_env({name: value})
    assert f"{name} must be " in str(raised.value)
    assert repr(value) in str(raised.value)


def test_all_that_is_wrong_is_named_at_once() -> None:
    wrong = dict(WRONG)
    with pytest.raises(SettingsError) as raised:
        Settings.from_env(wrong)
    assert all(f"{name} must be" in str(raised.value) for name in wrong)


def test_a_queue_needs_an_account_and_an_address() -> None:
    with pytest.raises(SettingsError, match=r"TASKS_SERVICE_ACCOUNT is missing.*FUNCTION_URL is missing"):
        Settings.from_env({"TASKS_QUEUE": QUEUE})


def test_settings_do_not_show_the_key() -> None:
    assert "very-secret" not in repr(Settings.from_env({"API_KEY": "very-secret"}))
