"""How long a newcomer waits for an upload that another request is writing to, on one server or on
two. With Redis these are two machines: they share it and the store, and have names of their own.

A client whose network changed comes back on a new connection while the server still holds the old
one open: the time until the newcomer is served is the time the user waits.
"""

import math
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Final

from tests.bench.figures import Figure, Fresh, Samples
from tests.bench.servers import Contender, Locking, Running, running
from tests.bench.sizes import KIB, MIB, Sizes
from tests.bench.wire import BenchError, Connection, Reply, TooSlow

HELD_BYTES: Final = 1 * MIB
SENT_BYTES: Final = 64 * KIB
HOLD_SECONDS: Final = 0.03
"""Until the holder has taken what was sent."""
PATIENCE_SECONDS: Final = 2.0
"""A newcomer that waits longer counts as having waited so long."""
PATIENCE_WITH_THE_DEAD_SECONDS: Final = 10.0
"""On another machine nothing but its lease (5 s) tells that a holder is dead."""
BUSY: Final = (423, 500, 503)
"""Answers after which a client tries again."""


def hand_over(contender: Contender, directory: Path, sizes: Sizes) -> Samples:
    """At one server, then from it to another on the same directory; in the end the first is
    killed while it holds many."""
    if contender.locking is Locking.NONE:
        return {}
    shared = contender.locking is Locking.ACROSS_PROCESSES
    wanted = sizes.hand_overs if shared else sizes.peer_hand_overs
    times = math.ceil(wanted / sizes.fresh_rounds)
    # Started for this alone: a server may be busy with waiting newcomers long after they left.
    with running(contender, directory) as first:
        samples = {
            "over_head": [_take_over(first, first, "HEAD") for _ in range(times)],
            "over_patch": [_take_over(first, first, "PATCH") for _ in range(times)],
        }
        if shared:
            with running(contender, directory) as second:
                across = math.ceil(sizes.across_hand_overs / sizes.fresh_rounds)
                samples |= {
                    "across_head": [_take_over(first, second, "HEAD") for _ in range(across)],
                    "across_patch": [_take_over(first, second, "PATCH") for _ in range(across)],
                    "killed_head": _take_over_from_the_dead(first, second, times),
                }
    return samples


def _take_over(first: Running, second: Running, verb: str) -> float:
    """Milliseconds from the newcomer's request to its good answer."""
    with first.connect() as holder:
        path = _hold(holder, first)
        took, reply = _newcomer_waits(second, path, verb)
    if reply is not None and verb == "HEAD" and reply.header("upload-offset") != str(SENT_BYTES):
        raise BenchError(f"offset {reply.header('upload-offset')}, {SENT_BYTES} bytes were sent")
    return took * 1e3


def _take_over_from_the_dead(first: Running, second: Running, times: int) -> list[float]:
    with ExitStack() as stack:
        holders = [stack.enter_context(first.connect()) for _ in range(times)]
        paths = [_hold(holder, first) for holder in holders]
        first.kill9()
        # All at once: each of them begins when the holder dies. What the dead had received and not
        # yet written is gone: any offset is right.
        with ThreadPoolExecutor(times) as threads:
            waiting = partial(
                _newcomer_waits, second, verb="HEAD", patience=PATIENCE_WITH_THE_DEAD_SECONDS
            )
            return [took * 1e3 for took, _ in threads.map(waiting, paths)]


def _hold(connection: Connection, server: Running) -> str:
    """Begin a PATCH that goes no further. The path of its upload."""
    path = connection.ask(server.endpoint.create(HELD_BYTES)).expect(201).path
    connection.socket.sendall(server.endpoint.patch(path, 0, HELD_BYTES) + bytes(SENT_BYTES))
    time.sleep(HOLD_SECONDS)
    return path


def _newcomer_waits(
    server: Running, path: str, verb: str, patience: float = PATIENCE_SECONDS
) -> tuple[float, Reply | None]:
    """Seconds until the good answer, and that answer."""
    request = (
        server.endpoint.head(path)
        if verb == "HEAD"
        else server.endpoint.patch(path, SENT_BYTES, 1) + b"x"
    )
    with server.connect(seconds=patience) as connection:
        began = time.perf_counter()
        try:
            reply = connection.ask(request)
            while reply.status in BUSY:
                reply = _ask_again(server, request, began + patience)
        except TooSlow:
            return patience, None
        took = time.perf_counter() - began
    reply.expect(200, 204)
    return min(took, patience), reply


def _ask_again(server: Running, request: bytes, until: float) -> Reply:
    time.sleep(0.005)
    if (left := until - time.perf_counter()) <= 0:
        raise TooSlow("the upload stays locked")
    with server.connect(seconds=left) as connection:
        return connection.ask(request)


def _figure(key: str, title: str, *, patience: float = PATIENCE_SECONDS, **options: Any) -> Figure:
    return Figure(key, title, "ms", 1, ceiling=patience * 1e3, **options)


def _slowest(of: str) -> Figure:
    return _figure(f"{of}_p99", "    p99", percentile=99, of=of)


SCENARIOS: Final = (
    Fresh(
        "hand-over",
        hand_over,
        (
            _figure("over_head", "running upload taken over by HEAD"),
            _figure("over_patch", "  by PATCH"),
            _figure("across_head", "  by HEAD at another process or machine"),
            _slowest("across_head"),
            _figure("across_patch", "  by PATCH at another process or machine"),
            _slowest("across_patch"),
            _figure(
                "killed_head",
                "  by HEAD, the holder killed -9",
                patience=PATIENCE_WITH_THE_DEAD_SECONDS,
            ),
        ),
    ),
)
