"""Serve a Hub from a terminal until it is stopped (SIGTERM, Ctrl-C).

python -m tests.hub_server --root hub-data --namespace demo --token hf_demo --open_pages
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading

from .objects import User
from .server import serve


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.hub_server", description=__doc__.splitlines()[0])
    parser.add_argument("--root", required=True, help="folder that keeps the repositories")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--namespace", default="demo", help="the user that --token belongs to")
    parser.add_argument("--token", default="hf_demo", help="the token that may write")
    parser.add_argument("--open_pages", action="store_true", help="show every repository to browsers on this machine")
    arguments = parser.parse_args()

    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    users = {arguments.token: User(arguments.namespace)}
    try:
        hub = serve(arguments.root, users, arguments.port, arguments.open_pages)
    except OSError as error:
        print(f"The Hub cannot start: {error}", file=sys.stderr)
        return 1
    print(f"Hub on {hub.endpoint}", flush=True)
    stopped.wait()
    hub.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
