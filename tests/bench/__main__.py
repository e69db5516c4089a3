"""``python -m tests.bench``: measure, print one table.

Give the machine a minute after another run: ext4 steps around inodes freed a moment ago, which
makes every new file dearer.
"""

import argparse
import asyncio
import json
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from tests.bench.ours import find_ours
from tests.bench.peers import find_peers
from tests.bench.run import Run
from tests.bench.servers import Contender
from tests.bench.sizes import FULL, QUICK, TINY, Sizes
from tests.bench.states import States
from tests.bench.table import build_document, build_table, describe_machine

FULL_SECONDS: Final = 480.0
QUICK_SECONDS: Final = 165.0
DESCRIPTORS: Final = 4096


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 1: something that was to be measured could not be (the table says what)."""
    options = _parser().parse_args(arguments)
    began = time.monotonic()
    # What was started is ended, however this ends.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    _allow_many_descriptors()
    sizes, seconds = _sizes(options)
    directory = Path(tempfile.mkdtemp(prefix="tusd-py-bench-", dir=options.directory))
    with ExitStack() as stack:
        stack.callback(_show_progress, "")
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        machine = describe_machine(directory)
        states = asyncio.run(States.start(directory / "redis"))
        stack.callback(states.close)
        contenders, missing = _contenders(options, states)
        run = Run(contenders, sizes, directory, began + seconds, _show_progress)
        results = run.measure(options.scenario)
    if options.json:
        document = build_document(contenders, results, sizes, [*machine, *missing])
        json.dump(document, sys.stdout, indent=2)
        print()
    else:
        print("\n".join(machine), end="\n\n")
        print(build_table(contenders, results, sizes), end="\n\n")
        print("\n".join(f"{one.name}: {one.how}" for one in contenders))
        print("\n".join([*missing, *results.notes, f"{time.monotonic() - began:.0f} s"]))
    return 1 if results.notes else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="make bench", description="Measure this server and its peers, print a table."
    )
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="some two minutes, rougher figures")
    size.add_argument("--tiny", action="store_true", help="seconds; figures mean nothing")
    parser.add_argument("--ours", action="store_true", help="leave the peers away")
    parser.add_argument("--scenario", default="", help="only those whose name contains this")
    parser.add_argument("--server", default="", help="only those whose name contains this")
    parser.add_argument("--workers", type=int, default=1, help="processes of tusd_py (1)")
    parser.add_argument("--directory", type=Path, help="where uploads go: the disk measured")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    return parser


def _sizes(options: argparse.Namespace) -> tuple[Sizes, float]:
    if options.tiny:
        return TINY, FULL_SECONDS
    return (QUICK, QUICK_SECONDS) if options.quick else (FULL, FULL_SECONDS)


def _contenders(options: argparse.Namespace, states: States) -> tuple[list[Contender], list[str]]:
    peers, missing = ([], []) if options.ours else find_peers()
    found = [*find_ours(options.workers, states), *peers]
    return [one for one in found if options.server in one.name], missing


def _allow_many_descriptors() -> None:
    """For the idle connections, here and in the servers, which inherit it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


def _show_progress(what: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{what}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
