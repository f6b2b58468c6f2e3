"""Whether a folder or a bucket can be written to, found without writing."""

import json
import os
from pathlib import Path
from typing import Any

from loader.errors import DestinationError

PERMISSIONS = tuple(f"storage.objects.{verb}" for verb in ("create", "delete", "get", "list"))
"""What a load does in a bucket."""


def try_folder(folder: Path) -> None:
    """Look whether a folder can be written to, or made.

    Raises:
        DestinationError: it can't.
    """
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise DestinationError(f"{there} is no folder, so nothing can be loaded into {folder}. Set another BUCKET_URL.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise DestinationError(
            f"The folder {there} can't be written to. Change its permissions, or set another BUCKET_URL."
        )


def try_bucket(files: Any, bucket: str) -> None:
    """Look whether a bucket is there, and what may be done in it.

    Args:
        files: gcsfs.
        bucket: its name.

    Raises:
        DestinationError: it is not, or not all that a load does.
    """
    try:
        _, answer = files.call("GET", "b/{}/iam/testPermissions", bucket, permissions=list(PERMISSIONS))
        held = json.loads(answer).get("permissions", [])
    except FileNotFoundError:
        _list(files, bucket)
        return
    if lacking := [name for name in PERMISSIONS if name not in held]:
        raise DestinationError(
            f"In the bucket {bucket} the permissions {', '.join(lacking)} are missing. "
            "Grant roles/storage.objectAdmin on it to whoever runs this."
        )


def _list(files: Any, bucket: str) -> None:
    """Look into the bucket, where nobody tells of permissions."""
    try:
        files.call("GET", "b/{}/o", bucket, maxResults=1)
    except FileNotFoundError:
        raise DestinationError(
            f"There is no bucket {bucket}. Make it (deploy.sh does), or correct BUCKET_URL."
        ) from None
