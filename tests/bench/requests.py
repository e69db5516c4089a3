"""Many small requests: whole uploads of a few KiB, and HEAD."""

import os
import time
from collections.abc import Sequence
from statistics import quantiles
from typing import Final

from tests.bench.crowd import Script, Tally, drive
from tests.bench.figures import Figure, Live, Samples
from tests.bench.servers import Running
from tests.bench.sizes import Sizes

HALF_AN_UPLOAD: Final = 4096


def small_uploads(server: Running, sizes: Sizes) -> Samples:
    """POST and PATCH, one after the other, over connections that stay."""
    tally = Tally()
    body = os.urandom(sizes.small_bytes)

    def upload() -> Script:
        create = server.endpoint.create(len(body))
        while True:
            path = (yield create).expect(201).path
            patched = yield server.endpoint.patch(path, 0, len(body)) + body
            patched.expect(204)
            tally.done += 1

    return _rate(server, "small", tally, [upload() for _ in range(sizes.connections)], sizes)


def heads(server: Running, sizes: Sizes) -> Samples:
    """All connections ask for the same unfinished upload, which nobody writes to."""
    tally = Tally()
    request = server.endpoint.head(_unfinished(server))

    def ask() -> Script:
        while True:
            (yield request).expect(200, 204)
            tally.done += 1

    return _rate(server, "heads", tally, [ask() for _ in range(sizes.connections)], sizes)


def head_latency(server: Running, sizes: Sizes) -> Samples:
    """One HEAD after the other over one connection."""
    request = server.endpoint.head(_unfinished(server))
    took = []
    with server.connect() as connection:
        for _ in range(sizes.latency_requests):
            began = time.perf_counter()
            reply = connection.ask(request)
            took.append(time.perf_counter() - began)
            reply.expect(200, 204)
    cuts = quantiles(took, n=100, method="inclusive")
    return {"head_p50": [cuts[49] * 1e6], "head_p99": [cuts[98] * 1e6]}


def _unfinished(server: Running) -> str:
    endpoint = server.endpoint
    with server.connect() as connection:
        path = connection.ask(endpoint.create(2 * HALF_AN_UPLOAD)).expect(201).path
        half = endpoint.patch(path, 0, HALF_AN_UPLOAD) + bytes(HALF_AN_UPLOAD)
        connection.ask(half).expect(204)
    return path


def _rate(
    server: Running, key: str, tally: Tally, scripts: Sequence[Script], sizes: Sizes
) -> Samples:
    """Units per second, the server's CPU seconds per thousand, and how busy the client was."""
    samples: dict[str, list[float]] = {}
    cpu, own, began = server.cpu_seconds(), time.process_time(), time.perf_counter()

    def at_the_end() -> None:
        took = time.perf_counter() - began
        samples[f"{key}_rate"] = [tally.done / took]
        samples[f"{key}_client"] = [(time.process_time() - own) / took * 100]
        if tally.done:
            spent = server.cpu_seconds() - cpu
            samples[f"{key}_cpu"] = [spent / tally.done * 1000]

    drive(server.port, scripts, sizes.rate_seconds, at_the_end)
    return samples


def _figures(key: str, title: str) -> tuple[Figure, ...]:
    return (
        Figure(f"{key}_rate", title, "1/s"),
        Figure(f"{key}_cpu", "  its CPU per 1,000", "s", 3),
        Figure(f"{key}_client", "  the client was busy", "% of a core"),
    )


SCENARIOS: Final = (
    Live(
        "small uploads",
        small_uploads,
        _figures("small", "uploads of {small_bytes} (POST + PATCH), {connections} connections"),
    ),
    Live("HEADs", heads, _figures("heads", "HEADs of one upload, {connections} connections")),
    Live(
        "latency of HEAD",
        head_latency,
        (
            Figure("head_p50", "HEAD, one connection, p50", "µs"),
            Figure("head_p99", "HEAD, one connection, p99", "µs"),
        ),
    ),
)
