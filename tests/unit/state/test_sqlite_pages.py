"""By which index a page of uploads is found."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest

from tests.contract.states import upload_id
from tusd_py.core.ids import ClientId, VideoId
from tusd_py.core.upload import Status
from tusd_py.state.base import Filter
from tusd_py.state.sqlite_pages import page_query
from tusd_py.state.sqlite_schema import migrate

VIDEO, CLIENT = VideoId("video"), ClientId("client")


@pytest.fixture
def db() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as opened:
        migrate(opened)
        yield opened


def plan_of(db: sqlite3.Connection, wanted: Filter) -> list[str]:
    sql, values = page_query(wanted, after=upload_id(7), limit=100)
    return [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {sql}", values)]


@pytest.mark.parametrize("status", [None, Status.RECEIVING], ids=["any status", "one status"])
@pytest.mark.parametrize(
    ("wanted", "search"),
    [
        pytest.param(
            Filter(video_id=VIDEO, client_id=CLIENT),
            "upload_owner (client_id=? AND video_id=? AND id>?)",
            id="of an owner",
        ),
        pytest.param(
            Filter(client_id=CLIENT), "upload_client (client_id=? AND id>?)", id="of a client"
        ),
        pytest.param(Filter(video_id=VIDEO), "upload_video (video_id=? AND id>?)", id="of a video"),
    ],
)
def test_the_pages_of_one_party_are_not_looked_for_among_everybodys(
    db: sqlite3.Connection, wanted: Filter, search: str, status: Status | None
) -> None:
    """By its own index, in the order of pages, whatever else is wanted."""
    plan = plan_of(db, replace(wanted, status=status))
    assert plan == [f"SEARCH u USING INDEX {search}"]


@pytest.mark.parametrize(
    ("wanted", "search"),
    [
        pytest.param(
            Filter(status=Status.JOINING), "upload_status (status=? AND id>?)", id="one status"
        ),
        pytest.param(Filter(), "sqlite_autoindex_upload_1 (id>?)", id="all"),
    ],
)
def test_pages_of_everybodys_uploads_go_by_an_index_too(
    db: sqlite3.Connection, wanted: Filter, search: str
) -> None:
    assert plan_of(db, wanted) == [f"SEARCH u USING INDEX {search}"]
