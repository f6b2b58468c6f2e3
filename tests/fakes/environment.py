"""The environment of a product process that takes the fakes for Google."""

import os
from pathlib import Path

from tests.fakes.cloud_tasks import FakeCloudTasks
from tests.fakes.metadata import FakeMetadata
from tests.fakes.secret_manager import FakeSecretManager


def google_environment(
    folder: Path,
    metadata: FakeMetadata,
    *,
    secret_manager: FakeSecretManager | None = None,
    cloud_tasks: FakeCloudTasks | None = None,
) -> dict[str, str]:
    """Give the whole environment of a subprocess; of the caller's own it has nothing but PATH.

    Args:
        folder: gets the empty folders that stand for the home and for gcloud's configuration.
        metadata: gives the credentials.
        secret_manager: gives the secrets.
        cloud_tasks: takes the tasks.
    """
    home, cloudsdk = folder / "home", folder / "cloudsdk"
    for empty in (home, cloudsdk):
        empty.mkdir(parents=True, exist_ok=True)
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "CLOUDSDK_CONFIG": str(cloudsdk),
        "GCE_METADATA_HOST": metadata.host,
        "GCE_METADATA_IP": metadata.host,
        "GCE_METADATA_ROOT": metadata.host,
    }
    if secret_manager is not None:
        environment["SECRET_MANAGER_EMULATOR_HOST"] = secret_manager.url
    if cloud_tasks is not None:
        environment["CLOUD_TASKS_EMULATOR_HOST"] = cloud_tasks.url
    return environment
