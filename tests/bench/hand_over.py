"""How long a newcomer waits for an upload that another request is writing to.

A client whose network changed comes back on a new connection while the server still holds the old
one open: the time until the newcomer is served is the time the user waits.
"""

import math
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Final

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
                samples |= {
                    "across_head": [_take_over(first, second, "HEAD") for _ in range(times)],
                    "across_patch": [_take_over(first, second, "PATCH") for _ in range(times)],
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
        # What the dead had received and not yet written is gone: any offset is right.
        return [_newcomer_waits(second, path, "HEAD")[0] * 1e3 for path in paths]


def _hold(connection: Connection, server: Running) -> str:
    """Begin a PATCH that goes no further. The path of its upload."""
    path = connection.ask(server.endpoint.create(HELD_BYTES)).expect(201).path
    connection.socket.sendall(server.endpoint.patch(path, 0, HELD_BYTES) + bytes(SENT_BYTES))
    time.sleep(HOLD_SECONDS)
    return path


def _newcomer_waits(server: Running, path: str, verb: str) -> tuple[float, Reply | None]:
    """Seconds until the good answer, and that answer."""
    request = (
        server.endpoint.head(path)
        if verb == "HEAD"
        else server.endpoint.patch(path, SENT_BYTES, 1) + b"x"
    )
    with server.connect(seconds=PATIENCE_SECONDS) as connection:
        began = time.perf_counter()
        try:
            reply = connection.ask(request)
            while reply.status in BUSY:
                reply = _ask_again(server, request, began)
        except TooSlow:
            return PATIENCE_SECONDS, None
        took = time.perf_counter() - began
    reply.expect(200, 204)
    return min(took, PATIENCE_SECONDS), reply


def _ask_again(server: Running, request: bytes, began: float) -> Reply:
    if time.perf_counter() - began > PATIENCE_SECONDS:
        raise TooSlow("the upload stays locked")
    time.sleep(0.005)
    with server.connect(seconds=PATIENCE_SECONDS) as connection:
        return connection.ask(request)


def _figure(key: str, title: str) -> Figure:
    return Figure(key, title, "ms", 1, ceiling=PATIENCE_SECONDS * 1e3)


SCENARIOS: Final = (
    Fresh(
        "hand-over",
        hand_over,
        (
            _figure("over_head", "running upload taken over by HEAD"),
            _figure("over_patch", "  by PATCH"),
            _figure("across_head", "  by HEAD at another process"),
            _figure("across_patch", "  by PATCH at another process"),
            _figure("killed_head", "  by HEAD, the holder killed -9"),
        ),
    ),
)
