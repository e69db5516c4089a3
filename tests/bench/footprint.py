"""How soon a server answers, and how much memory it takes: idle, connected, receiving."""

import select
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from tests.bench.figures import Figure, Fresh, Samples
from tests.bench.processes import Memory
from tests.bench.servers import Contender, Running, running
from tests.bench.sizes import KIB, MIB, Sizes
from tests.bench.wire import BenchError, Connection

SETTLE_SECONDS: Final = 0.4
"""After this time a server has done what a request left it to do."""
STEPS: Final = 8
"""Looks at the memory while bodies arrive."""
STEP_SECONDS: Final = 0.1


def footprint(contender: Contender, directory: Path, sizes: Sizes) -> Samples:
    """A server from its start on, one state after the other."""
    with running(contender, directory) as server:
        time.sleep(SETTLE_SECONDS)
        idle = server.memory()
        connected = _with_idle_connections(server, sizes.idle_connections)
        time.sleep(SETTLE_SECONDS)
        before = server.memory()
        receiving = _with_active_uploads(server, sizes)
        return {
            "start": [server.start_seconds * 1e3],
            "idle_rss": [idle.rss / MIB],
            "idle_pss": [idle.pss / MIB],
            "connected_pss": [connected.pss / MIB],
            "per_connection": [_more(idle, connected) / sizes.idle_connections / KIB],
            "receiving_pss": [receiving.pss / MIB],
            "per_upload": [_more(before, receiving) / sizes.active_uploads / KIB],
            "in_sockets": [
                (receiving.sockets - before.sockets) / sizes.active_uploads / KIB,
            ],
        }


def _more(before: Memory, after: Memory) -> int:
    return after.pss - before.pss + after.sockets - before.sockets


def _with_idle_connections(server: Running, count: int) -> Memory:
    """The memory with so many connections that were used once and are kept."""
    with ExitStack() as stack:
        connections = []
        for _ in range(count):
            connection = stack.enter_context(server.connect())
            connection.ask(server.endpoint.options()).expect(200, 204)
            connections.append(connection)
        time.sleep(SETTLE_SECONDS)
        memory = server.memory()
        if closed := _hung_up(connections):
            raise BenchError(f"{closed} of {count} idle connections were closed by the server")
    return memory


def _hung_up(connections: Sequence[Connection]) -> int:
    poll = select.poll()
    for one in connections:
        poll.register(one.socket, select.POLLIN)
    return len(poll.poll(0))


def _with_active_uploads(server: Running, sizes: Sizes) -> Memory:
    """The most memory seen while so many bodies arrive, a piece of each in turn."""
    piece = bytes(sizes.active_bytes // STEPS)
    most: Memory | None = None
    with ExitStack() as stack:
        length = 2 * sizes.active_bytes
        connections = []
        for _ in range(sizes.active_uploads):
            connection = stack.enter_context(server.connect())
            path = connection.ask(server.endpoint.create(length)).expect(201).path
            connection.socket.sendall(server.endpoint.patch(path, 0, length))
            connections.append(connection)
        for _ in range(STEPS):
            for connection in connections:
                connection.socket.sendall(piece)
            time.sleep(STEP_SECONDS)
            memory = server.memory()
            if most is None or memory.pss + memory.sockets > most.pss + most.sockets:
                most = memory
    assert most is not None
    return most


SCENARIOS: Final = (
    Fresh(
        "start and memory",
        footprint,
        (
            Figure("start", "start to first answer", "ms"),
            Figure("idle_rss", "memory idle, RSS", "MiB", 1),
            Figure("idle_pss", "memory idle, PSS", "MiB", 1),
            Figure("connected_pss", "with {idle_connections} idle connections, PSS", "MiB", 1),
            Figure("per_connection", "  per connection, sockets included", "KiB", 1),
            Figure("receiving_pss", "with {active_uploads} uploads in mid-body, PSS", "MiB", 1),
            Figure("per_upload", "  per upload, sockets included", "KiB", 1),
            Figure("in_sockets", "  of that in sockets", "KiB", 1),
        ),
    ),
)
