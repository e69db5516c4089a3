"""A bad network: a TCP relay between a client and the server, both on loopback.

It works on bare sockets and counts what they took; before a reset it waits until the receiving
kernel has it, so that "cut at byte N" means that exactly N bytes came through.
"Up" is from the client to the server.

What goes wrong is said beforehand, one ``Fault`` per connection (``relay.add``), or done to
the living: ``relay.cut_all()``, ``connection.stall()``, ``relay.go_down()``.
"""

import asyncio
import contextlib
import socket
from collections import deque
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import Enum
from typing import Any, Self
from urllib.parse import urlsplit, urlunsplit

from tests.support.counting import Counter
from tests.support.sockets import reset, send_some, sent_everything, writable

PIECE = 64 * 1024
DISCARD_SECONDS = 5.0


class Cut(Enum):
    """How a connection ends."""

    FIN = "fin"
    RST = "rst"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What happens to one connection. The plain ``Fault()`` passes everything.

    Several may be set; whichever byte comes first decides.
    """

    cut_after: int | None = None
    """Cut, once so many bytes have gone up."""
    cut_answer_after: int | None = None
    """Cut, once so many bytes have come down. 0: at the first byte, which is lost."""
    lose_answer_after: int | None = None
    """Cut at the first byte that comes down when so many have gone up: the server has acted,
    the client never hears of it. Earlier answers on the connection, a ``100 Continue`` among
    them, pass."""
    how: Cut = Cut.RST
    stall_after: int | None = None
    """Pass so many bytes up, then none until ``resume``."""
    stall_answer_after: int | None = None
    half_close_after: int | None = None
    """Send FIN to the server after so many bytes; its answer still comes down."""
    bytes_per_second: int | None = None
    """How fast the bytes go up."""
    answer_bytes_per_second: int | None = None
    refuse: bool = False
    """Accepted and reset at once; the server hears nothing."""


class _Flow:
    """One direction of one connection."""

    def __init__(self, source: socket.socket, sink: socket.socket) -> None:
        self.source = source
        self.sink = sink
        self.passed = Counter()
        self.running = asyncio.Event()
        self.running.set()
        self.rate: int | None = None


class Connection:
    """One connection through the relay."""

    def __init__(
        self, relay: "Relay", client: socket.socket, server: socket.socket, fault: Fault
    ) -> None:
        self.fault = fault
        self._relay = relay
        self._up = _Flow(client, server)
        self._up.rate = fault.bytes_per_second
        self._down = _Flow(server, client)
        self._down.rate = fault.answer_bytes_per_second
        self._pumps: list[asyncio.Task[None]] = []
        self._stalled_by_fault: set[str] = set()
        self._cutting: Cut | None = None
        self._half_closed = False
        self._wake_cut = asyncio.Event()
        self.stalled = asyncio.Event()
        """Set when a stall that the fault asked for has begun."""
        self.closed = asyncio.Event()
        """Set when both sides are closed."""

    @property
    def bytes_up(self) -> int:
        return self._up.passed.value

    @property
    def bytes_down(self) -> int:
        return self._down.passed.value

    async def passed(self, count: int) -> None:
        """Wait until ``count`` bytes have gone up."""
        await self._up.passed.reached(count)

    async def answered(self, count: int = 1) -> None:
        """Wait until ``count`` bytes have come down."""
        await self._down.passed.reached(count)

    def cut(self, how: Cut = Cut.RST) -> None:
        """End it now, to both sides; ``closed`` tells when it is done."""
        self._cutting = self._cutting or how
        self._wake_cut.set()

    def stall(self, *, up: bool = True, down: bool = True) -> None:
        """Pass nothing any more; the connection stays open."""
        if up:
            self._up.running.clear()
        if down:
            self._down.running.clear()

    def resume(self) -> None:
        """Go on after a stall, also one that the fault asked for."""
        self._up.running.set()
        self._down.running.set()

    def throttle(self, bytes_per_second: int | None, *, down: bool = False) -> None:
        """Change how fast bytes go up (or down); None is as fast as they come."""
        (self._down if down else self._up).rate = bytes_per_second

    def half_close(self) -> None:
        """FIN to the server, while its answers still come down."""
        self._half_closed = True
        with contextlib.suppress(OSError):
            self._up.sink.shutdown(socket.SHUT_WR)

    async def run(self) -> None:
        """Relay until both sides have ended, or the connection is cut."""
        client, server = self._up.source, self._up.sink
        self._pumps = [
            asyncio.create_task(self._pump(self._up, "up")),
            asyncio.create_task(self._pump(self._down, "down")),
        ]
        cut = asyncio.create_task(self._wake_cut.wait())
        both: asyncio.Future[Any] = asyncio.gather(*self._pumps, return_exceptions=True)
        try:
            await asyncio.wait([both, cut], return_when=asyncio.FIRST_COMPLETED)
            await _cancel(*self._pumps)
            if self._cutting is Cut.FIN:
                await self._say_goodbye(client, server)
            elif self._cutting is Cut.RST:
                # A reset throws away what the kernel has not sent yet; N bytes are N bytes.
                await sent_everything(server)
                await sent_everything(client)
                reset(server)
                reset(client)
        finally:
            await _cancel(cut, *self._pumps)
            client.close()
            server.close()
            self.closed.set()

    async def _pump(self, flow: _Flow, name: str) -> None:
        loop = asyncio.get_running_loop()
        try:
            while True:
                data = await loop.sock_recv(flow.source, PIECE)
                if not data:
                    await flow.running.wait()
                    with contextlib.suppress(OSError):
                        flow.sink.shutdown(socket.SHUT_WR)
                    return
                await self._forward(flow, memoryview(data), name)
        except OSError:
            # One side was reset: so is the other.
            self.cut(Cut.RST)

    async def _forward(self, flow: _Flow, data: memoryview, name: str) -> None:
        loop = asyncio.get_running_loop()
        while data:
            await flow.running.wait()
            if name == "up" and self._half_closed:
                return  # what the client still sends goes nowhere
            started = loop.time()
            allowed = self._allowed_up() if name == "up" else self._allowed_down()
            if self._cutting is not None or allowed == 0:
                await self._stop_here(flow, name)
                continue
            piece = data[:allowed] if allowed is not None else data
            if flow.rate is not None:
                piece = piece[: max(1, flow.rate // 50)]
            # Nothing is awaited between the question how much may pass and the sending.
            sent = send_some(flow.sink, piece)
            if sent == 0:
                await writable(flow.sink)
                continue
            data = data[sent:]
            flow.passed.add(sent)
            if name == "up":
                self._relay.count_up(sent)
                self._react_to_count()
            if flow.rate is not None:
                spent = loop.time() - started
                await asyncio.sleep(max(0.0, sent / flow.rate - spent))

    def _react_to_count(self) -> None:
        """What happens at byte N happens then, not when byte N + 1 comes."""
        fault, count = self.fault, self.bytes_up
        if fault.cut_after is not None and count >= fault.cut_after:
            self.cut(fault.how)
        if fault.half_close_after is not None and count == fault.half_close_after:
            self.half_close()
        if fault.stall_after is not None and count >= fault.stall_after:
            self._stall_once(self._up, "up")

    def _stall_once(self, flow: _Flow, name: str) -> None:
        if name not in self._stalled_by_fault:
            self._stalled_by_fault.add(name)
            flow.running.clear()
            self.stalled.set()

    def _allowed_up(self) -> int | None:
        limits = [self.fault.cut_after, self.fault.half_close_after]
        if "up" not in self._stalled_by_fault:
            limits.append(self.fault.stall_after)
        left = [limit - self.bytes_up for limit in limits if limit is not None]
        left += [self._relay.left_before_cut] if self._relay.left_before_cut is not None else []
        return max(0, min(left)) if left else None

    def _allowed_down(self) -> int | None:
        fault = self.fault
        if fault.lose_answer_after is not None and self.bytes_up >= fault.lose_answer_after:
            return 0
        limits = [fault.cut_answer_after]
        if "down" not in self._stalled_by_fault:
            limits.append(fault.stall_answer_after)
        left = [limit - self.bytes_down for limit in limits if limit is not None]
        return max(0, min(left)) if left else None

    async def _stop_here(self, flow: _Flow, name: str) -> None:
        """No further byte may pass: find out why, and wait for what comes of it."""
        stall = self.fault.stall_after if name == "up" else self.fault.stall_answer_after
        if stall is not None and flow.passed.value >= stall and name not in self._stalled_by_fault:
            self._stall_once(flow, name)
            return
        half = self.fault.half_close_after if name == "up" else None
        if half is not None and flow.passed.value >= half:
            self.half_close()
            return
        self.cut(self.fault.how)
        await asyncio.get_running_loop().create_future()  # until the cut cancels this pump

    async def _say_goodbye(self, *sides: socket.socket) -> None:
        """FIN to both. What they still send is read and dropped, for a socket that is closed
        with unread bytes sends RST instead."""
        for side in sides:
            with contextlib.suppress(OSError):
                side.shutdown(socket.SHUT_WR)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DISCARD_SECONDS):
                await asyncio.gather(*(_discard(side) for side in sides))


class Relay:
    """Listens on loopback and passes everything on to ``target_port``; see the module."""

    def __init__(self, target_port: int, *, buffer_bytes: int | None = None) -> None:
        self.target_port = target_port
        """May change at any time; new connections go there."""
        self.port = 0
        self.default = Fault()
        """For connections when no fault is queued."""
        self.connections: list[Connection] = []
        """All there ever were, oldest first."""
        self.accepted = 0
        """Connections that clients made, refused ones too."""
        self.left_before_cut: int | None = None
        self._cut_all_how = Cut.RST
        self._buffer_bytes = buffer_bytes
        self._faults: deque[Fault] = deque()
        self._up = Counter()
        self._made = Counter()
        self._listener: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await self.come_back()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.go_down()
        await _cancel(*self._tasks)

    def url(self, target: str) -> str:
        """The address of ``target`` (a URL of the server) through this relay."""
        return urlunsplit(urlsplit(target)._replace(netloc=f"127.0.0.1:{self.port}"))

    def add(self, *faults: Fault) -> None:
        """Queue faults; each new connection takes one."""
        self._faults.extend(faults)

    def clear(self) -> None:
        """Forget the queued faults and the limit of ``cut_all_after``; the living stay."""
        self._faults.clear()
        self.left_before_cut = None

    @property
    def bytes_up(self) -> int:
        """Bytes that went up, over all connections."""
        return self._up.value

    async def passed(self, count: int) -> None:
        """Wait until ``count`` bytes have gone up, over all connections."""
        await self._up.reached(count)

    async def connection(self, number: int) -> Connection:
        """The connection of this number, from 0; waits until there is one."""
        await self._made.reached(number + 1)
        return self.connections[number]

    @property
    def living(self) -> list[Connection]:
        return [connection for connection in self.connections if not connection.closed.is_set()]

    def cut_all(self, how: Cut = Cut.RST) -> None:
        """End every living connection now; new ones are served."""
        for connection in self.living:
            connection.cut(how)

    def cut_all_after(self, count: int, how: Cut = Cut.RST) -> None:
        """End every living connection once ``count`` more bytes have gone up, over all."""
        self.left_before_cut = count
        self._cut_all_how = how

    def stall_all(self) -> None:
        for connection in self.living:
            connection.stall()

    def resume_all(self) -> None:
        for connection in self.living:
            connection.resume()

    async def go_down(self, how: Cut | None = Cut.RST) -> None:
        """Refuse connections, and end the living ones (None: leave them)."""
        if self._accepting is not None:
            await _cancel(self._accepting)
            self._accepting = None
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        if how is not None:
            living = self.living
            self.cut_all(how)
            await asyncio.gather(*(connection.closed.wait() for connection in living))

    async def come_back(self) -> None:
        """Listen again, on the same port as before."""
        if self._listener is not None:
            return
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if self._buffer_bytes is not None:
            # Small buffers make a client feel a stall at once; they must be set before listen.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._buffer_bytes)
        listener.setblocking(False)
        listener.bind(("127.0.0.1", self.port))
        listener.listen(512)
        self.port = listener.getsockname()[1]
        self._listener = listener
        self._accepting = asyncio.create_task(self._accept(listener))

    def count_up(self, count: int) -> None:
        """For connections: bytes went up."""
        self._up.add(count)
        if self.left_before_cut is not None:
            self.left_before_cut -= count
            if self.left_before_cut <= 0:
                self.left_before_cut = None
                self.cut_all(self._cut_all_how)

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            client, _ = await loop.sock_accept(listener)
            self.accepted += 1
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._spawn(self._serve(client, self._faults.popleft() if self._faults else None))

    async def _serve(self, client: socket.socket, fault: Fault | None) -> None:
        fault = fault or self.default
        server = socket.socket()
        server.setblocking(False)
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            if fault.refuse:
                raise ConnectionRefusedError
            if self._buffer_bytes is not None:
                server.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self._buffer_bytes)
            address = ("127.0.0.1", self.target_port)
            await asyncio.get_running_loop().sock_connect(server, address)
        except BaseException as error:
            reset(client)
            server.close()
            if isinstance(error, OSError):
                return
            raise
        connection = Connection(self, client, server, fault)
        self.connections.append(connection)
        self._made.add()
        await connection.run()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


@asynccontextmanager
async def relay_to(
    url: str, *faults: Fault, buffer_bytes: int | None = None
) -> AsyncIterator[Relay]:
    """A relay to the server at ``url`` (any of its addresses), with faults queued."""
    port = urlsplit(url).port
    assert port is not None, f"{url} names no port"
    async with Relay(port, buffer_bytes=buffer_bytes) as relay:
        relay.add(*faults)
        yield relay


async def _discard(side: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    with contextlib.suppress(OSError):
        while await loop.sock_recv(side, PIECE):
            pass


async def _cancel(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
