"""Many connections driven by one thread: each follows a script that yields its next request.

Threads would fight for the interpreter; one loop over epoll sends tens of thousands of requests a
second, which is more than any server here can answer beside it on two cores.
"""

import select
import socket
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Final

from tests.bench.wire import HEAD_END, READ_BYTES, BenchError, Connection, Reply, reply_end

Script = Generator[bytes, Reply, None]
"""Yields a request, is given the answer; each time round it does the same again."""
SILENCE_SECONDS: Final = 5.0


@dataclass(slots=True)
class Tally:
    """What the scripts of a crowd have finished."""

    done: int = 0


@dataclass(slots=True)
class _Member:
    sock: socket.socket
    script: Script
    bodiless: bool = False
    received: bytes = b""

    def send(self, request: bytes) -> None:
        self.bodiless = request.startswith(b"HEAD")
        # A request is far smaller than an empty send buffer.
        if self.sock.send(request) != len(request):
            raise BenchError("the kernel did not take a whole request")

    def take(self) -> Reply | None:
        """What came; the answer once it is there."""
        data = self.sock.recv(READ_BYTES)
        if not data:
            raise BenchError("the server hung up before it answered")
        data = self.received + data
        if reply_end(data, bodiless=self.bodiless) is None:
            self.received = data
            return None
        self.received = b""
        return Reply(data[: data.index(HEAD_END) + len(HEAD_END)])


def drive(
    port: int, scripts: Sequence[Script], seconds: float, at_the_end: Callable[[], None]
) -> None:
    """Run the scripts, each on a connection of its own, for so long.

    ``at_the_end`` is called when the time is over; answers still on their way are waited for
    afterwards, so that nothing of this run disturbs the next.
    """
    connections = [Connection(port) for _ in scripts]
    try:
        crowd = {
            one.socket.fileno(): _Member(one.socket, script)
            for one, script in zip(connections, scripts, strict=True)
        }
        with select.epoll() as poll:
            for descriptor, member in crowd.items():
                poll.register(descriptor, select.EPOLLIN)
                member.send(next(member.script))
            _drive(poll, crowd, time.perf_counter() + seconds)
            at_the_end()
            _drain(poll, crowd)
    finally:
        for one in connections:
            one.close()


def _drive(poll: select.epoll, crowd: dict[int, _Member], deadline: float) -> None:
    while time.perf_counter() < deadline:
        ready = poll.poll(SILENCE_SECONDS)
        if not ready:
            raise BenchError(f"no answer for {SILENCE_SECONDS} s")
        for descriptor, _ in ready:
            member = crowd[descriptor]
            if (reply := member.take()) is not None:
                member.send(member.script.send(reply))


def _drain(poll: select.epoll, crowd: dict[int, _Member]) -> None:
    waiting = len(crowd)
    while waiting and (ready := poll.poll(SILENCE_SECONDS)):
        for descriptor, _ in ready:
            if crowd[descriptor].take() is not None:
                poll.unregister(descriptor)
                waiting -= 1
