"""``state copy`` between two state files: what it says, and what it refuses."""

import asyncio
import itertools
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.contract.states import an_event, an_upload
from tusd_py.cli import main
from tusd_py.cli.exits import Exit
from tusd_py.core.upload import Boot
from tusd_py.host import EMBEDDED_HOST, this_machine
from tusd_py.service import moving
from tusd_py.service.moving import Tally
from tusd_py.state.moving import Record
from tusd_py.state.sqlite import SqliteSettings, SqliteState
from tusd_py.stores.disk import DiskSettings, DiskStore


@pytest.fixture(autouse=True)
def _in_an_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    yield
    logging.captureWarnings(False)
    root.handlers[:] = before
    root.setLevel(level)


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> pytest.CaptureFixture[str]:
    return capsys


@asynccontextmanager
async def opened(path: str) -> AsyncIterator[SqliteState]:
    machine = await asyncio.to_thread(this_machine)
    settings = SqliteSettings(path=Path(path))
    state = SqliteState(settings, boot=machine.boot, lease_seconds=5.0, clock=machine.clock)
    await state.open()
    try:
        yield state
    finally:
        await state.close()


def fill(path: str = "data/state.db", *, uploads: int = 2) -> None:
    async def run() -> None:
        async with opened(path) as state:
            await state.register(["h"])
            for number in range(uploads):
                upload = an_upload(number)
                await state.create(upload, [an_event(upload)], with_lease=False)

    asyncio.run(run())


def ids(path: str) -> list[str]:
    async def run() -> list[str]:
        async with opened(path) as state:
            pieces = [piece async for piece in state.dump()]
            return sorted(one.upload.id for one in pieces if isinstance(one, Record))

    return asyncio.run(run())


def _failing_after(count: int, real: Callable[[Any], str]) -> Callable[[Any], str]:
    calls = itertools.count()

    def call(piece: Any) -> str:
        if next(calls) >= count:
            raise RuntimeError("killed")
        return real(piece)

    return call


def copy(source: str, target: str, *more: str) -> int:
    return main(["state", "copy", "--from", source, "--to", target, *more])


def test_the_configured_state_is_copied_and_what_comes_next_is_told(
    printed: pytest.CaptureFixture[str],
) -> None:
    """Progress goes where errors go: the output is the result."""
    fill()
    assert copy("config", "sqlite:new/other.db") == Exit.OK
    out, err = printed.readouterr()
    assert out.startswith(
        "copied from config to sqlite:new/other.db: 2 uploads, 2 events that wait, 0 dead letters, "
        "2 events that are remembered\n"
    )
    assert "left as it is" in out and "start the servers" in out
    assert err.splitlines() == ["reading the source …", "copying 2 uploads …", "comparing …"]
    assert ids("new/other.db") == ids("data/state.db") != []


def test_machines_read_one_document(printed: pytest.CaptureFixture[str]) -> None:
    fill()
    assert copy("sqlite:data/state.db", "sqlite:other.db", "--json") == Exit.OK
    out, err = printed.readouterr()
    assert err == ""
    assert json.loads(out) == {
        "from": "sqlite:data/state.db",
        "to": "sqlite:other.db",
        "uploads": 2,
        "waiting": 2,
        "dead_letters": 0,
        "remembered": 2,
    }


def test_an_end_is_named_by_the_file_of_a_server_that_works_on_it(
    printed: pytest.CaptureFixture[str],
) -> None:
    """What the command line says of [state] is meant for "config" alone."""
    fill("a.db")
    Path("old.toml").write_text('[state]\npath = "a.db"\n')
    Path("new.toml").write_text('data_dir = "there"\n')
    assert copy("old.toml", "new.toml", "--state.path", "nowhere.db") == Exit.OK, printed
    assert ids("there/state.db") == ids("a.db")
    assert copy("new.toml", "config", "--state.path", "third.db") == Exit.OK
    assert ids("third.db") == ids("a.db")
    assert not Path("nowhere.db").exists()


@pytest.mark.parametrize(
    ("source", "target", "code", "said"),
    [
        pytest.param("a.db", "config", Exit.USAGE, "no state: give", id="neither word nor file"),
        pytest.param("sqlite:no.db", "config", Exit.NOT_FOUND, "no state file no.db", id="missing"),
        pytest.param("config", "sqlite:data/state.db", Exit.USAGE, "the same", id="twice the same"),
        pytest.param("config", "no.toml", Exit.CONFIGURATION, "cannot be read", id="no such file"),
        pytest.param("config", "redis://", Exit.CONFIGURATION, "must name a host", id="a bad URL"),
        pytest.param("sqlite:void.db", "sqlite:b.db", Exit.REFUSED, "nothing to copy", id="empty"),
        pytest.param("config", "sqlite:full.db", Exit.REFUSED, "not empty", id="overwriting"),
        pytest.param("config", "sqlite:/dev/null/a.db", Exit.UNAVAILABLE, "open", id="no folder"),
    ],
)
def test_what_cannot_be_copied_is_told_with_its_code(
    printed: pytest.CaptureFixture[str], source: str, target: str, code: Exit, said: str
) -> None:
    """Nothing was changed then, and no file made for a name that is wrong."""
    fill()
    fill("full.db")
    fill("void.db", uploads=0)
    assert copy(source, target) == code
    out, err = printed.readouterr()
    assert out == "" and said in err
    assert not Path("no.db").exists()
    assert ids("full.db") == ids("data/state.db")


def test_a_server_that_runs_is_not_copied_from(printed: pytest.CaptureFixture[str]) -> None:
    """What it goes on with would be forgotten."""
    fill()

    async def while_it_runs() -> int:
        async with opened("data/state.db"):
            return await asyncio.to_thread(copy, "config", "sqlite:b.db")

    assert asyncio.run(while_it_runs()) == Exit.REFUSED
    assert "stop every server" in printed.readouterr().err
    assert ids("b.db") == []


def test_a_copy_that_is_not_the_same_is_not_to_be_used(
    printed: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is said where, and what to do."""
    fill()
    monkeypatch.setattr(Tally, "differences", lambda *_: ["Record of uploads 00…: 1 there, 0 here"])
    assert copy("config", "sqlite:b.db") == Exit.FAILED
    err = printed.readouterr().err
    assert "Record of uploads 00…" in err and "remove it, and copy again" in err


def test_a_part_of_a_copy_is_opened_by_nobody(
    printed: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command was killed, or the disk was full."""
    fill()

    # Seven pieces are read for a start, and some of them once more.
    with monkeypatch.context() as patched, pytest.raises(RuntimeError, match="killed"):
        patched.setattr(moving, "_canonical", _failing_after(10, moving._canonical))
        copy("config", "sqlite:b.db")
    assert main(["uploads", "list", "--state.path", "b.db"]) == Exit.UNAVAILABLE
    assert "was not finished" in printed.readouterr().err
    assert copy("config", "sqlite:b.db") == Exit.UNAVAILABLE


def test_the_machine_is_called_as_the_target_calls_it() -> None:
    """Beside the bytes: what it wrote under another name is believed until it restarts, and no
    longer."""
    fill()
    boot_id = this_machine().boot.boot_id

    async def say(*boots: Boot) -> None:
        store = DiskStore(DiskSettings(root=Path("data/uploads")))
        await store.open()
        for boot in boots:
            await store.publish_boot(boot)
        await store.close()

    asyncio.run(say(Boot("node-1", boot_id), Boot("node-2", "another")))
    assert copy("config", "sqlite:b.db", "--json") == Exit.OK
    said = [json.loads(file.read_text()) for file in Path("data/uploads/hosts").iterdir()]
    found = {one["host"]: one["boot_id"] for one in said}
    assert found == {EMBEDDED_HOST: boot_id, "node-2": "another"}


def test_a_password_is_not_shown(printed: pytest.CaptureFixture[str]) -> None:
    """Neither in a result nor in a failure."""
    fill()
    url = "redis://me:sesame@127.0.0.1:1/0"
    assert copy("config", url, "--process.host-name", "node-1") == Exit.UNAVAILABLE
    assert copy("config", url + "/x") == Exit.CONFIGURATION
    assert copy(url + "?a", "config") == Exit.CONFIGURATION
    assert copy("https://me:sesame@h/", "config") == Exit.USAGE
    out, err = printed.readouterr()
    assert "sesame" not in out + err
