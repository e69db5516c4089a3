"""What asyncio does not offer on bare sockets: partial sends, resets, waiting for the kernel."""

import asyncio
import fcntl
import random
import socket
import struct
import termios
from pathlib import Path

SEND_SECONDS = 2.0


def send_some(sock: socket.socket, data: memoryview) -> int:
    """Send what the kernel takes right now, which may be nothing, and say how much that was."""
    try:
        return sock.send(data)
    except BlockingIOError:
        return 0


def reset(sock: socket.socket) -> None:
    """Close with RST instead of FIN."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    finally:
        sock.close()


async def sent_everything(sock: socket.socket) -> bool:
    """Wait until the other kernel has all that was sent; False when it does not take it.

    There is no event for an empty send queue, so it is looked at.
    """
    deadline = asyncio.get_running_loop().time() + SEND_SECONDS
    while _unsent(sock):
        if asyncio.get_running_loop().time() > deadline:
            return False
        await asyncio.sleep(0.001)
    return True


def _unsent(sock: socket.socket) -> int:
    """Bytes sent and not yet acknowledged (Linux, SIOCOUTQ)."""
    try:
        answer = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, b"\0\0\0\0")
    except OSError:
        return 0
    return int(struct.unpack("i", answer)[0])


async def writable(sock: socket.socket) -> None:
    """Wait until the kernel takes something."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    descriptor = sock.fileno()

    def wake() -> None:
        if not ready.done():
            ready.set_result(None)

    loop.add_writer(descriptor, wake)
    try:
        await ready
    finally:
        loop.remove_writer(descriptor)


def quiet_port() -> int:
    """A free port that the kernel gives to nobody's outgoing connection: a server that is killed
    and started again finds it free."""
    lowest, _ = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    while True:
        port = random.randrange(10_000, lowest)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
