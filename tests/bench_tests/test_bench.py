"""The benchmark at the real server, with tiny sizes, and what it tells of failures."""

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.bench.figures import Figure
from tests.bench.ours import find_ours
from tests.bench.processes import cpu_seconds
from tests.bench.run import Results, Run, figures
from tests.bench.servers import Contender, Locking
from tests.bench.sizes import TINY
from tests.bench.states import States
from tests.bench.table import build_document, build_table
from tests.bench.wire import Reply, reply_end

pytestmark = pytest.mark.timeout(120)


def _run(contenders: Sequence[Contender], directory: Path, *, seconds: float = 60) -> Run:
    deadline = time.monotonic() + seconds
    return Run(contenders, TINY, directory, deadline, lambda what: None)


@pytest.fixture
async def states(tmp_path: Path) -> AsyncIterator[States]:
    found = await States.start(tmp_path / "redis")
    yield found
    await asyncio.to_thread(found.close)


@pytest.mark.timeout(240)
async def test_every_figure_of_this_server_is_measured(states: States, tmp_path: Path) -> None:
    """Nothing fails, and no row of the table stays empty; those of Redis are of it alone."""
    found = await asyncio.to_thread(find_ours, states=states)
    ours = [found[0], found[2]]
    assert [one.name for one in ours] == ["tusd_py", "Redis, TCP"]
    results = await asyncio.to_thread(_run(ours, tmp_path, seconds=200).measure)
    assert results.notes == []
    embedded, shared = results.samples["tusd_py"], results.samples["Redis, TCP"]
    assert shared.keys() == {figure.samples_key for figure in figures()}
    assert shared.keys() - embedded.keys() == {"redis_few", "redis_many", "plain_few", "plain_many"}
    for measured in (embedded, shared):
        assert all(values for values in measured.values())
        for key in ("one_stream_mb_s", "small_rate", "heads_rate", "creations_1", "creations_3"):
            assert min(measured[key]) > 0, key
    assert 100 < shared["redis_many"][0] < shared["redis_few"][0] < 100_000
    table = build_table(ours, results, TINY)
    assert len(table.splitlines()) == 1 + len(list(figures()))
    assert "one PATCH of 1 MiB" in table
    document = json.loads(json.dumps(build_document(ours, results, TINY, [])))
    assert document["samples"] == {"tusd_py": embedded, "Redis, TCP": shared}


def test_the_slowest_of_a_hundred_is_shown_beside_the_median() -> None:
    """Two figures of the same samples; one that a server lacks is nothing."""
    results = Results()
    results.add("a", {"took": [float(number) for number in range(1, 101)]})
    middle = Figure("took", "time", "ms")
    slowest = Figure("took_p99", "p99", "ms", percentile=99, of="took")
    assert results.value("a", middle) == 50.5
    assert results.value("a", slowest) == pytest.approx(99.01)
    assert results.value("b", middle) is None


def test_a_server_that_does_not_start_is_named_with_what_it_said(tmp_path: Path) -> None:
    def command(directory: Path, port: int) -> Sequence[str]:
        return [sys.executable, "-c", "raise SystemExit('no such luck')"]

    broken = replace(find_ours()[0], name="broken", command=command, locking=Locking.NONE)
    run = _run([broken], tmp_path)
    notes = run.measure("no scenario has this name").notes
    assert len(notes) == 1
    assert "broken is not measured" in notes[0]
    assert "no such luck" in notes[0]


def test_what_there_was_no_time_for_is_named(tmp_path: Path) -> None:
    ours = find_ours()[:1]
    notes = _run(ours, tmp_path, seconds=-1).measure("hand-over").notes
    assert notes == ["tusd_py, hand-over: no time was left"]


@pytest.mark.parametrize(
    ("data", "bodiless", "end"),
    [
        pytest.param(b"HTTP/1.1 204 No Content\r\nA: b\r\n", False, None, id="half a head"),
        pytest.param(b"HTTP/1.1 204 No Content\r\n\r\nHT", False, 27, id="no body"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", True, 38, id="HEAD"),
        pytest.param(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nx", False, None, id="cut"),
        pytest.param(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nxyz", False, 40, id="body"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
            False,
            58,
            id="chunked",
        ),
    ],
)
def test_the_client_sees_where_an_answer_ends(data: bytes, bodiless: bool, end: int | None) -> None:
    assert reply_end(data, bodiless=bodiless) == end


@pytest.mark.parametrize(
    "location", ["/files/Abc", "//host:1/files/Abc", "http://127.0.0.1:1080/files/Abc"]
)
def test_the_client_finds_the_upload_that_was_created(location: str) -> None:
    head = f"HTTP/1.1 201 Created\r\nDate: x\r\nlocation: {location}\r\n\r\n".encode()
    assert Reply(head).path == "/files/Abc"


def test_processor_time_of_another_process_is_seen() -> None:
    before = cpu_seconds(os.getpid())
    until = time.process_time() + 0.05
    while time.process_time() < until:
        pass
    assert cpu_seconds(os.getpid()) - before >= 0.05
