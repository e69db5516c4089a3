"""How many uploads a second are created by one, two and three processes on one state."""

import time
from pathlib import Path
from typing import Final

from tests.bench.crowd import Script, Tally, drive
from tests.bench.figures import Figure, Fresh, Samples
from tests.bench.servers import Contender, Running, running
from tests.bench.sizes import Sizes

PROCESSES: Final = (1, 2, 3)
UPLOAD_BYTES: Final = 1 << 20
TYPICAL: Final = {"Upload_Metadata": "filename aG9saWRheS1pbi1taW5zay5tcDQ=,filetype dmlkZW8vbXA0"}
"""Headers of a creation: a file name of 20 letters, and a type."""


def creations(contender: Contender, directory: Path, sizes: Sizes) -> Samples:
    """Each number of processes on a state of its own, and asked for a while before it counts."""
    if contender.variant is None:
        return {}
    samples = {}
    for count in PROCESSES:
        several = contender.variant(workers=count)
        with running(several, directory / str(count)) as server:
            _rate(server, sizes, sizes.rate_seconds / 4)
            samples[f"creations_{count}"] = [_rate(server, sizes, sizes.rate_seconds)]
    return samples


def _rate(server: Running, sizes: Sizes, seconds: float) -> float:
    tally = Tally()
    request = creation(server)
    began, took = time.perf_counter(), seconds

    def script() -> Script:
        while True:
            (yield request).expect(201)
            tally.done += 1

    def at_the_end() -> None:
        nonlocal took
        took = time.perf_counter() - began

    drive(server.port, [script() for _ in range(sizes.creating_connections)], seconds, at_the_end)
    return tally.done / took


def creation(server: Running) -> bytes:
    """The request for an upload like many."""
    return server.endpoint.create(UPLOAD_BYTES, **TYPICAL)


SCENARIOS: Final = (
    Fresh(
        "creations",
        creations,
        (
            Figure("creations_1", "creations, {creating_connections} connections", "1/s"),
            Figure("creations_2", "  2 processes on one state", "1/s"),
            Figure("creations_3", "  3 processes", "1/s"),
        ),
    ),
)
