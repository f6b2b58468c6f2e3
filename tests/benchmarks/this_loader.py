"""A driver like those of the peers, for this project: `main.py contacts --json`, and the keys in its table."""

import json
import os
import tempfile
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

from loader import shell
from tests.benchmarks.peers.telling import tell
from tests.end_to_end.support.tables import ids_of

RESOURCE = "contacts"
HOW = {True: "verified", False: "not verified", None: "success"}
"""How a pass ended that is complete, by what its `verified` is."""


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.environ["BUCKET_URL"] = folder
        output = StringIO()
        with redirect_stdout(output):
            code = shell.main([RESOURCE, "--json"])
        for key in ids_of(Path(folder), RESOURCE):
            tell(key)
    print(json.dumps({"ended": "failed" if code else HOW[json.loads(output.getvalue())["pass"]["verified"]]}))


if __name__ == "__main__":
    main()
