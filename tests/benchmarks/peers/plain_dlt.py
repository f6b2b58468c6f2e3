"""dlt as its own documentation runs it, with this project's source_config.py word for word, into a local folder."""

import gzip
import json
import tempfile
from pathlib import Path

import dlt
from dlt.destinations import filesystem
from dlt.sources.rest_api import rest_api_source

from source_config import NAME, source_config
from tests.benchmarks.peers.telling import tell, tell_end

RESOURCE = "contacts"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        tell_end(lambda: load(Path(folder)))


def load(folder: Path) -> None:
    pipeline = dlt.pipeline(
        f"{NAME}_{RESOURCE}",
        pipelines_dir=str(folder / "pipelines"),
        destination=filesystem(str(folder / "data")),
        dataset_name=NAME,
    )
    pipeline.run(rest_api_source(source_config(), name=NAME).with_resources(RESOURCE))
    for file in sorted((folder / "data" / NAME / RESOURCE).glob("*.jsonl.gz")):
        for line in gzip.decompress(file.read_bytes()).splitlines():
            tell(json.loads(line)["id"])


if __name__ == "__main__":
    main()
