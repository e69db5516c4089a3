"""Versions of the state file, and the generation it is of."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.contract.states import BOOT
from tusd_py.core.upload import Boot
from tusd_py.state.base import Due, StateError
from tusd_py.state.sqlite_due import _BY_TIME, _FIRST_WRITER, _NEXT_WRITER, _OF_WRITER, _UNCLEAN
from tusd_py.state.sqlite_events import _DUE_TIMES, _HEADS
from tusd_py.state.sqlite_note import Verdict
from tusd_py.state.sqlite_schema import MIGRATIONS, enter_generation, migrate


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@pytest.fixture
def db(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None)) as opened:
        yield opened


def version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


OLD = (("CREATE TABLE thing (name TEXT)", "INSERT INTO thing VALUES ('kept')"),)
NEW = (
    *OLD,
    ("ALTER TABLE thing ADD COLUMN size INTEGER DEFAULT 7",),
    ("CREATE INDEX thing_size ON thing (size)",),
)


def test_an_older_file_is_brought_to_the_present_version_with_its_rows(
    db: sqlite3.Connection,
) -> None:
    migrate(db, OLD)
    migrate(db, NEW)
    assert version(db) == 3
    assert db.execute("SELECT name, size FROM thing").fetchall() == [("kept", 7)]
    migrate(db, NEW)
    assert version(db) == 3


def test_a_migration_that_fails_leaves_the_file_as_it_was(db: sqlite3.Connection) -> None:
    migrate(db, OLD)
    with pytest.raises(sqlite3.OperationalError):
        migrate(db, (*NEW, ("CREATE TABLE thing (x)",)))
    assert version(db) == 1
    assert db.execute("SELECT * FROM thing").fetchall() == [("kept",)]
    migrate(db, NEW)
    assert version(db) == 3


def test_a_file_of_a_newer_program_is_refused_with_both_versions(db: sqlite3.Connection) -> None:
    migrate(db)
    db.execute("PRAGMA user_version = 99")
    with pytest.raises(StateError, match=rf"version 99.*up to {len(MIGRATIONS)}"):
        migrate(db)


def test_a_database_of_another_program_is_refused(db: sqlite3.Connection) -> None:
    db.execute("CREATE TABLE customers (name)")
    with pytest.raises(StateError, match="another program"):
        migrate(db)


def test_the_generation_lasts_over_restarts_and_boots(db: sqlite3.Connection, path: Path) -> None:
    migrate(db)
    first = enter_generation(db, path, boot=BOOT, now=5.0, verdict=Verdict.OURS)
    again = enter_generation(
        db, path, boot=Boot(BOOT.host, "boot-2"), now=1.0, verdict=Verdict.OURS
    )
    assert again == first
    assert (first.began_at, first.began_boot) == (5.0, BOOT.boot_id)


def test_a_copy_in_the_place_of_the_file_is_another_generation(
    db: sqlite3.Connection, path: Path
) -> None:
    migrate(db)
    first = enter_generation(db, path, boot=BOOT, now=5.0, verdict=Verdict.OURS)
    copy = path.with_suffix(".copy")
    shutil.copy(path, copy)
    copy.replace(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        second = enter_generation(other, path, boot=BOOT, now=9.0, verdict=Verdict.OURS)
        assert second.id != first.id and second.began_at == 9.0
        assert enter_generation(other, path, boot=BOOT, now=11.0, verdict=Verdict.OURS) == second


@pytest.mark.parametrize(
    "sql",
    [
        *(pytest.param(sql, id=due.value) for due, sql in _BY_TIME.items()),
        pytest.param(_UNCLEAN, id=Due.ABANDONED.value),
        pytest.param(_FIRST_WRITER, id="first writer"),
        pytest.param(_NEXT_WRITER, id="next writer"),
        pytest.param(_OF_WRITER, id="of a writer"),
        pytest.param(_HEADS, id="claim"),
        pytest.param(_DUE_TIMES, id="next due"),
    ],
)
def test_what_is_looked_for_again_and_again_is_found_by_an_index(
    db: sqlite3.Connection, sql: str
) -> None:
    """No scan of a table, no sorting: the plan of each query says so."""
    migrate(db)
    named = {"now": 1.0, "before": 1.0}
    values: object = named if ":" in sql else tuple("x" * sql.count("?"))
    plan = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {sql}", values)]  # type: ignore[arg-type]
    assert plan and all("USING" in step for step in plan), plan
    assert not any("B-TREE" in step for step in plan), plan
