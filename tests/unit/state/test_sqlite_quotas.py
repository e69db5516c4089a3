"""Quotas in the state file: what is kept of them, and for how long."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.contract.states import BOOT, FakeClock
from tusd_py.core.ids import HolderId
from tusd_py.core.rates import Rate, Turn
from tusd_py.core.upload import Boot
from tusd_py.state.sqlite import SqliteSettings, SqliteState
from tusd_py.state.sqlite_quotas import _TIDY_PLACES, _TIDY_RATES
from tusd_py.state.sqlite_schema import migrate

RATE = Rate(count=1, seconds=10.0, burst=1)


def made(path: Path, clock: FakeClock, boot: Boot = BOOT) -> SqliteState:
    return SqliteState(SqliteSettings(path=path), boot=boot, lease_seconds=5.0, clock=clock)


def rows(path: Path, table: str) -> int:
    with closing(sqlite3.connect(path)) as db:
        return int(db.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


async def test_what_says_nothing_any_more_does_not_pile_up(tmp_path: Path) -> None:
    """A thousand clients that come once each leave what the last of them need."""
    clock, path = FakeClock(), tmp_path / "state.db"
    state = made(path, clock)
    await state.open()
    try:
        for number in range(1000):
            assert (await state.admit(str(number), RATE)).is_given
            assert await state.enter(str(number), HolderId("x"), limit=1, seconds=10)
            clock.advance(1)
        assert rows(path, "rate") <= 12
        assert rows(path, "place") <= 12
    finally:
        await state.close()


async def test_a_number_of_an_earlier_boot_says_nothing(tmp_path: Path) -> None:
    """The clock began anew: what it said before is far ahead, or long ago."""
    clock, path = FakeClock(), tmp_path / "state.db"
    clock.advance(1_000_000)
    state = made(path, clock)
    await state.open()
    await state.admit("client", RATE)
    await state.close()
    state = made(path, FakeClock(), Boot(BOOT.host, "boot-2"))
    await state.open()
    try:
        assert rows(path, "rate") == 0
        assert await state.admit("client", RATE) == Turn(True, 0.0)
        assert await state.admit("client", RATE) == Turn(False, 10.0)
    finally:
        await state.close()


@pytest.mark.parametrize("sql", [_TIDY_RATES, _TIDY_PLACES])
def test_what_is_over_is_found_by_an_index(sql: str) -> None:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        migrate(db)
        plan = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {sql}", (1, 2))]
        assert plan and not any(step.startswith("SCAN rate") for step in plan), plan
        assert all("USING" in step or "LIST" in step for step in plan), plan


async def test_a_name_that_is_no_text_for_sqlite_is_a_client_as_well(tmp_path: Path) -> None:
    """Names are kept as digests, never as they are."""
    path = tmp_path / "state.db"
    state = made(path, FakeClock())
    await state.open()
    try:
        await state.admit("secret-name", RATE)
        await state.enter("secret-name", HolderId("x"), limit=1, seconds=10)
    finally:
        await state.close()
    assert b"secret-name" not in path.read_bytes()
