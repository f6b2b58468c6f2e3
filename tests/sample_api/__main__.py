"""Serve the sample API until the process is told to end: `python -m tests.sample_api --help`."""

import argparse
import signal
import threading
from pathlib import Path

from tests.sample_api.rows import RESOURCES
from tests.sample_api.server import KEY, SampleApi
from tests.sample_api.world import Behaviour, World

ROWS = (1234, 500, 99, 1, 0)


def main() -> None:
    """Serve."""
    arguments = parse_arguments()
    behaviour = Behaviour(total=arguments.total, latency=arguments.latency)
    world = World(dict(zip(RESOURCES, arguments.rows, strict=False)), behaviour)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with SampleApi(world, arguments.port, key=arguments.key) as api:
        print(f"listening on {api.url}", flush=True)
        if arguments.port_file:
            write_whole(arguments.port_file, str(api.port))
        stop.wait()


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.sample_api", description="Play a paged REST API.")
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0, the default: a free one")
    parser.add_argument(
        "--rows",
        type=lambda text: [int(count) for count in text.split(",")],
        default=ROWS,
        help=f"rows of {', '.join(RESOURCES)}; default {','.join(map(str, ROWS))}",
    )
    parser.add_argument("--latency", type=float, default=0.0, help="seconds until a page is answered")
    parser.add_argument("--no-total", dest="total", action="store_false", help="pages don't tell the total")
    parser.add_argument("--key", default=KEY, help=f"API key that is accepted; default {KEY}")
    parser.add_argument("--port-file", type=Path, help="file that gets the port once the API is listening")
    return parser.parse_args()


def write_whole(path: Path, text: str) -> None:
    """Write a file that is never seen half written."""
    unfinished = path.with_name(f"{path.name}.unfinished")
    unfinished.write_text(text)
    unfinished.replace(path)


if __name__ == "__main__":
    main()
