"""On what a test runs: one server with its embedded state, or a fleet behind a proxy on Redis.

Every end-to-end test runs on both, by the fixture ``installation``; the few that are about one
process' own affairs stand in ``RUNS_ONCE``. A test says ``serving`` and means "the service".
"""

import asyncio
import itertools
import os
import re
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Literal

from tests.support import server
from tests.support.fleet import Fleet, fleet
from tests.support.proxies import Kind
from tests.support.redis_servers import RedisServer
from tests.support.server import Server
from tests.support.wire import request

Installation = Literal["one", "fleet"]
EVERY: Final[tuple[Installation, ...]] = ("one", "fleet")

_WORKERS: Final = "workers of one machine share a socket and a supervisor"
_EMBEDDED: Final = "at once is what the locks of one host tell; others wait for the lease"
_PROCESS: Final = "about the memory, descriptors or output of a single process"
_OWN: Final = "makes machines of its own"
_CONNECTION: Final = "about the server's own end of a connection, which a proxy has here"
RUNS_ONCE: Final[Mapping[str, str]] = {
    "test_processes.py": _WORKERS,
    "test_stopping.py::test_a_killed_worker_is_succeeded_by_the_other": _WORKERS,
    "test_stopping.py::test_a_rolling_restart_under_load_refuses_nobody": _WORKERS,
    "test_stopping.py::test_a_stop_commits_running_bodies_and_answers_them_at_once": _CONNECTION,
    "test_stopping.py::test_kept_connections_hear_try_again_while_the_server_stops": _CONNECTION,
    "test_reading.py::test_many_readers_and_a_writer_share_one_server": _PROCESS,
    "test_reading.py::test_memory_stays_where_the_kernel_does_not_send": _PROCESS,
    "test_oneshot.py::test_a_big_file_needs_no_memory": _PROCESS,
    "test_operating.py::test_figures_parse_and_their_labels_are_bounded": _PROCESS,
    "test_operating.py::test_an_open_door_without_a_key_of_ones_own_is_refused": _PROCESS,
    "test_cli.py::test_the_printed_commands_upload_a_file": _PROCESS,
    "test_cli.py::test_the_development_key_is_told_at_each_start": _PROCESS,
    "test_leases.py::test_a_killed_holder_is_succeeded_at_once": _EMBEDDED,
    "test_rebuilding.py": _OWN,
    "test_moving.py": "moves what one server did into Redis and back by itself",
    "test_many_machines.py": _OWN,
    "test_redis_away.py": _OWN,
    "test_rules_failover.py": _OWN,
    "test_rules_hosts.py": _OWN,
    "test_rules_lost_state.py": _OWN,
    "test_redis_failover.py": _OWN,
    "test_chaos.py": "has a flavour of its own for many machines",
    "test_installations.py::test_what_runs_once_exists": "runs nothing",
}
"""A file of tests, or ``file::test``: why it does not run a second time, on a fleet."""

_present: Installation = "one"
_redis: RedisServer | None = None
_numbers: Final = itertools.count()


def installations_of(file: str, test: str) -> tuple[Installation, ...]:
    """What a test of this file runs on."""
    alone = {file, f"{file}::{test}"} & RUNS_ONCE.keys()
    return ("one",) if alone else EVERY


def settle_on(installation: Installation) -> None:
    """From now on ``serving`` makes this."""
    global _present
    _present = installation


@asynccontextmanager
async def serving(
    directory: Path,
    settings: Mapping[str, Any] | None = None,
    *,
    proxy: Kind = "nginx",
    **options: Any,
) -> AsyncIterator[Server]:
    """The service, on ``directory``. ``proxy``: which one stands before a fleet (nginx breaks on
    interim answers, so that whoever relies on them has Caddy)."""
    if _present == "one":
        async with server.serving(directory, settings, **options) as alone:
            yield alone
    else:
        async with many(directory, settings, proxy=proxy, **options) as several:
            yield several


@asynccontextmanager
async def serving_twice(
    directory: Path, settings: Mapping[str, Any] | None = None
) -> AsyncIterator[tuple[Server, Server]]:
    """Two servers on one store and state: processes of one machine, or two machines."""
    if _present == "fleet":
        async with many(directory, settings, machines=2, proxy=None) as pair:
            first, second = pair.machines
            yield first, second
        return
    async with server.serving(directory, settings, name="first") as first:
        second = first.twin("second")
        try:
            yield first, await second.start()
        finally:
            await second.kill9()


def several_processes() -> dict[str, Any]:
    """Settings of a service of which more than one process answers."""
    return {"process": {"workers": 2}} if _present == "one" else {}


@asynccontextmanager
async def many(
    directory: Path, settings: Mapping[str, Any] | None = None, **options: Any
) -> AsyncIterator[Fleet]:
    """A fleet on a state of its own, whatever the test runs on."""
    state = await _state_of_its_own()
    async with fleet(directory, settings, state=state, **options) as several:
        yield several


async def lose_state(service: Server) -> None:
    """All records, leases and events are gone, as if they had never been. Nothing may run."""
    if isinstance(service, Fleet):
        redis = await _shared_redis()
        async with redis.client() as client:
            keys = [key async for key in client.scan_iter(f"{_prefix_of(service)}:*", count=10_000)]
            await client.delete(*keys)
        return
    for file in list(service.data_directory.glob("state.db*")):
        if file.is_file():
            file.unlink()


async def state_contents(service: Server) -> dict[str, bytes]:
    """What lies in Redis of this service, by key; of one server nothing does."""
    if not isinstance(service, Fleet):
        return {}
    redis = await _shared_redis()
    async with redis.client() as client:
        keys = [key async for key in client.scan_iter(f"{_prefix_of(service)}:*", count=10_000)]
        return {str(key): await client.dump(key) or b"" for key in keys}


def servers_of(service: Server) -> list[Server]:
    """One, or all machines of a fleet."""
    return service.machines if isinstance(service, Fleet) else [service]


async def figure(service: Server, name: str) -> float:
    """One figure (a name, with its labels), over all servers together; 0 where it is not there."""
    pages = await asyncio.gather(
        *(request("GET", f"{one.base}/metrics") for one in servers_of(service))
    )
    found = (re.search(rf"^{re.escape(name)} (\S+)$", page.text, re.MULTILINE) for page in pages)
    return sum(float(one[1]) for one in found if one)


def forget_redis() -> None:
    """At the end of the test process."""
    global _redis
    if _redis is not None:
        _redis.close()
        _redis = None


def _prefix_of(service: Fleet) -> str:
    return str(service.settings["state"]["prefix"])


async def _shared_redis() -> RedisServer:
    """One for all tests of this process: what belongs to whom its keys say."""
    global _redis
    if _redis is None:
        folder = Path(tempfile.mkdtemp(prefix="redis-"))
        # Uncompressed, so that who looks for something in a dump finds it.
        _redis = await RedisServer(folder, config={"rdbcompression": "no"}).start()
    return _redis


async def _state_of_its_own() -> dict[str, Any]:
    redis = await _shared_redis()
    prefix = f"e2e-{os.getpid()}-{next(_numbers)}"
    return {"kind": "redis", "url": redis.url, "prefix": prefix}
