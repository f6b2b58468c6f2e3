"""The Google APIs that the product talks to, played on 127.0.0.1."""

from tests.fakes.cloud_tasks import Delivery, FakeCloudTasks, Task
from tests.fakes.environment import google_environment
from tests.fakes.metadata import FakeMetadata
from tests.fakes.secret_manager import FakeSecretManager, Trouble

__all__ = [
    "Delivery",
    "FakeCloudTasks",
    "FakeMetadata",
    "FakeSecretManager",
    "Task",
    "Trouble",
    "google_environment",
]
