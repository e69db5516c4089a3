"""Small pieces of the serving process."""

import asyncio
import os
from pathlib import Path

import pytest

from tests.support.server import serving
from tusd_py.announce import Announcement, describe
from tusd_py.compose import is_loopback
from tusd_py.server import FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, keep_alive


async def test_background_work_that_dies_is_started_again_later_each_time() -> None:
    """And ends with itself, when it returns."""
    pauses: list[float] = []

    async def work() -> None:
        if len(pauses) < 8:
            raise RuntimeError("unforeseen")

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    await keep_alive("sweeper", work, pause=pause)
    assert pauses[:3] == [FIRST_PAUSE_SECONDS, 2 * FIRST_PAUSE_SECONDS, 4 * FIRST_PAUSE_SECONDS]
    assert pauses[-1] == LONGEST_PAUSE_SECONDS


async def test_background_work_can_be_cancelled() -> None:
    """A stop is no death."""
    started = asyncio.Event()

    async def work() -> None:
        started.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(keep_alive("sweeper", work))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize(
    ("host", "base"),
    [
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("0.0.0.0", "http://127.0.0.1:80"),
        ("::", "http://[::1]:80"),
        ("::1", "http://[::1]:80"),
        ("up.example", "http://up.example:80"),
    ],
)
def test_the_ready_line_says_where_this_machine_finds_the_server(host: str, base: str) -> None:
    """Also of one that listens everywhere."""
    ready = describe(host=host, port=80, path="/upload/")
    assert ready == {"endpoint": f"{base}/upload/", "base": base, "pid": os.getpid()}


def test_the_announcement_is_told_once_to_people_and_to_whoever_started_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The descriptor is closed afterwards: a reader sees the end of it."""
    read_end, write_end = os.pipe()
    Announcement("at {endpoint}, {ready}", write_end).tell(host="h", port=1, path="/u/")
    with os.fdopen(read_end) as reader:
        line = reader.read().strip()
    assert capsys.readouterr().out == f"at http://h:1/u/, {line}\n"


@pytest.mark.parametrize(
    ("host", "answer"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("", False),
        ("10.0.0.1", False),
        ("localhost.example", False),
    ],
)
def test_what_only_this_machine_reaches_is_known(host: str, answer: bool) -> None:
    """In doubt it is reached by others, and needs a key of its own."""
    assert is_loopback(host) is answer


HANGS = """
import asyncio
from tusd_py.hooks.base import EventSink


class Sink(EventSink):
    async def deliver(self, event):
        pass

    async def close(self):
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                pass
"""


async def test_a_hook_that_never_closes_does_not_keep_the_server_from_stopping(
    tmp_path: Path,
) -> None:
    """It ends within its time and says what was cut off."""
    (tmp_path / "hanging.py").write_text(HANGS)
    hook = {"name": "h", "kind": "python", "target": "hanging:Sink", "import_from": str(tmp_path)}
    settings = {"hooks": [hook], "process": {"stop_seconds": 2}}
    async with serving(tmp_path, settings) as server:
        server.terminate()
        assert await server.ended(seconds=10) == 0
        await server.logged("stop_forced")
