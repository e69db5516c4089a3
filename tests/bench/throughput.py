"""Large bodies: one stream, several at a time, and a file in chunks."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

from tests.bench.figures import Figure, Live, Samples
from tests.bench.servers import Running
from tests.bench.sizes import Sizes
from tests.bench.wire import Connection, Endpoint, body_file


def one_stream(server: Running, sizes: Sizes) -> Samples:
    """The whole file in one PATCH."""
    count = sizes.one_stream_bytes
    return _measured(server, "one_stream", count, lambda: _send_streams(server, count, 1))


def streams(server: Running, sizes: Sizes) -> Samples:
    """Several files at a time, each in one PATCH."""
    count, streams = sizes.stream_bytes, sizes.streams
    send = partial(_send_streams, server, count, streams)
    return _measured(server, "streams", count * streams, send)


def chunks(server: Running, sizes: Sizes) -> Samples:
    """One file as clients with a chunk size send it, over one connection."""
    return _measured(server, "chunks", sizes.chunked_bytes, lambda: _send_chunks(server, sizes))


def _measured(server: Running, key: str, total_bytes: int, send: Callable[[], float]) -> Samples:
    """Run ``send``, which says how long the sending took."""
    before = server.cpu_seconds()
    took = send()
    spent = server.cpu_seconds() - before
    return {f"{key}_mb_s": [total_bytes / took / 1e6], f"{key}_cpu": [spent / total_bytes * 1e9]}


def _send_chunks(server: Running, sizes: Sizes) -> float:
    body = body_file(sizes.chunk_bytes)
    with server.connect() as connection:
        path = _create(connection, server.endpoint, sizes.chunked_bytes)
        began = time.perf_counter()
        for offset in range(0, sizes.chunked_bytes, sizes.chunk_bytes):
            count = min(sizes.chunk_bytes, sizes.chunked_bytes - offset)
            _patch(connection, server.endpoint, path, offset, body, count)
        took = time.perf_counter() - began
        _delete(connection, server.endpoint, path)
    return took


def _send_streams(server: Running, count: int, streams: int) -> float:
    """Each stream has a thread, which is in the kernel nearly all the time."""
    body = body_file(count)
    connections = [server.connect() for _ in range(streams)]
    try:
        paths = [_create(one, server.endpoint, count) for one in connections]
        with ThreadPoolExecutor(streams) as threads:
            began = time.perf_counter()
            sending = [
                threads.submit(_patch, one, server.endpoint, path, 0, body, count)
                for one, path in zip(connections, paths, strict=True)
            ]
            for one in sending:
                one.result()
            took = time.perf_counter() - began
        for connection, path in zip(connections, paths, strict=True):
            _delete(connection, server.endpoint, path)
    finally:
        for connection in connections:
            connection.close()
    return took


def _create(connection: Connection, endpoint: Endpoint, length: int) -> str:
    return connection.ask(endpoint.create(length)).expect(201).path


def _patch(
    connection: Connection, endpoint: Endpoint, path: str, offset: int, body: int, count: int
) -> None:
    connection.socket.sendall(endpoint.patch(path, offset, count))
    connection.send_body(body, count)
    connection.answer().expect(204)


def _delete(connection: Connection, endpoint: Endpoint, path: str) -> None:
    """Gone again, so that the pages of one round are not written out during the next."""
    connection.ask(endpoint.delete(path)).expect(204)


def _figures(key: str, title: str) -> tuple[Figure, Figure]:
    return (
        Figure(f"{key}_mb_s", title, "MB/s"),
        Figure(f"{key}_cpu", "  its CPU", "s/GB", 2),
    )


SCENARIOS: Final = (
    Live("one stream", one_stream, _figures("one_stream", "one PATCH of {one_stream_bytes}")),
    Live("streams", streams, _figures("streams", "{streams} streams of {stream_bytes}")),
    Live("chunks", chunks, _figures("chunks", "{chunked_bytes} in chunks of {chunk_bytes}")),
)
