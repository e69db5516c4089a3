"""What a move notices of two stores, with stores that are no more than lists."""

import dataclasses
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from dataclasses import replace
from typing import Any

import pytest

from tests.unit.core.builders import an_upload
from tusd_py.core.events import Event, EventKind, event_of
from tusd_py.core.ids import EventId
from tusd_py.core.metadata import Metadata
from tusd_py.core.upload import Boot, Upload
from tusd_py.service.moving import Moved, MoveDiffers, Tally, move
from tusd_py.state.moving import Dead, Hooks, Known, Movable, MoveRefused, Piece, Record, Waiting

UPLOAD = an_upload()


def event(number: int, upload: Upload = UPLOAD) -> Event:
    return event_of(upload, EventKind.INTERRUPTED, occurred_at=7.0, sequence=number)


CONTENT: list[Piece] = [
    Hooks(("a", "b")),
    Record(UPLOAD, None),
    Waiting("a", event(1), 0, 7.0, is_next=True),
    Waiting("b", event(1), 0, 7.0, is_next=True),
    Dead("a", event(2), 3, "no", 8.0),
    Waiting("b", event(2), 0, 7.0, is_next=True),
    Known(event(1).id, 7.0, UPLOAD.id[:2]),
    Known(event(2).id, 7.0, UPLOAD.id[:2]),
]


def tally(pieces: Iterable[Piece]) -> Tally:
    made = Tally()
    for piece in pieces:
        made.add(piece)
    return made


class Pretended(Movable):
    """A store that gives one list after another, and keeps what it is given, less what it loses."""

    def __init__(self, *dumps: list[Piece], loses: int | None = None) -> None:
        self._dumps = list(dumps)
        self._loses = loses
        self.pieces: list[Piece] = []

    async def dump(self) -> AsyncIterator[Piece]:
        pieces = self._dumps.pop(0) if self._dumps else self.pieces
        for piece in pieces:
            yield piece

    async def restore(self, pieces: AsyncIterable[Piece]) -> None:
        self.pieces = [piece async for piece in pieces]
        if self._loses is not None:
            del self.pieces[self._loses]


def test_what_went_by_is_the_same_in_any_order_of_uploads() -> None:
    """Stores need not remember in the same order, nor write numbers alike."""
    other = an_upload(id="f" * 32)
    more = [*CONTENT, Record(other, "k"), Waiting("a", event(1, other), 0, 7, is_next=True)]
    back = [more[0], more[8], more[1], more[9], *more[2:6], more[7], more[6]]
    assert tally(more).differences(tally(back)) == []
    whole = replace(UPLOAD, created_at=int(UPLOAD.created_at))
    assert whole.created_at == UPLOAD.created_at
    assert tally([Record(whole, None)]).differences(tally([Record(UPLOAD, None)])) == []


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param(CONTENT[:-1], id="one is missing"),
        pytest.param([*CONTENT, CONTENT[-1]], id="one is there twice"),
        pytest.param([Hooks(("a",)), *CONTENT[1:]], id="a hook"),
        pytest.param([CONTENT[0], Record(UPLOAD, "k"), *CONTENT[2:]], id="a key"),
        pytest.param([*CONTENT[:2], *CONTENT[4:6], *CONTENT[2:4], *CONTENT[6:]], id="the order"),
        pytest.param([*CONTENT[:7], Known(event(2).id, 7.5, "00")], id="a time"),
        pytest.param([*CONTENT[:7], Known(EventId("0" * 32), 7.0, "00")], id="an event's id"),
        pytest.param(
            [*CONTENT[:7], Waiting("b", event(2), 0, 7.0, is_next=True)], id="another kind"
        ),
        pytest.param(
            [*CONTENT[:4], Waiting("a", event(2), 3, 8.0, is_next=True), *CONTENT[5:]],
            id="not dead any more",
        ),
        pytest.param(
            [*CONTENT[:4], Dead("a", event(2), 3, "No", 8.0), *CONTENT[5:]], id="a reason"
        ),
        pytest.param(
            [*CONTENT[:2], Waiting("a", event(1), 1, 7.0, is_next=True), *CONTENT[3:]],
            id="a number of tries",
        ),
        pytest.param(
            [
                *CONTENT[:2],
                Waiting("a", replace(event(1), data={}), 0, 7.0, is_next=True),
                *CONTENT[3:],
            ],
            id="what an event says",
        ),
    ],
)
def test_every_difference_shows(pieces: list[Piece]) -> None:
    """One side against the other."""
    assert tally(CONTENT).differences(tally(pieces))
    assert tally(pieces).differences(tally(CONTENT))


OTHER_VALUES: dict[str, Any] = {
    "metadata": Metadata("other b3RoZXI="),
    "creator": Boot("other", "other"),
    "writer": Boot("other", "other"),
    "overrides": {"other": "other"},
    "parts": ("a" * 32,),
    "digests": (("sha256", "other"),),
    "promised_digests": (("sha256", "other"),),
}


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Upload)])
def test_every_field_of_a_record_is_compared(name: str) -> None:
    """One that is added and forgotten shows here."""
    there: Any = getattr(UPLOAD, name)
    if name in OTHER_VALUES:
        other = OTHER_VALUES[name]
    elif name == "owner":
        other = replace(there, client_id="other")
    elif hasattr(type(there), "__members__"):
        other = next(one for one in type(there) if one is not there)
    else:
        other = not there if isinstance(there, bool) else f"{there}1"
        other = 77 if not isinstance(there, str | bool) else other
    changed = replace(UPLOAD, **{name: other})
    assert tally([Record(UPLOAD, None)]).differences(tally([Record(changed, None)]))


async def test_a_move_tells_how_much_it_moved() -> None:
    target = Pretended()
    moved = await move(Pretended(CONTENT, CONTENT), target)
    assert moved == Moved(uploads=1, waiting=3, dead_letters=1, remembered=2)
    assert target.pieces == CONTENT


async def test_a_copy_that_lost_something_is_not_called_a_copy() -> None:
    """It is said where."""
    with pytest.raises(
        MoveDiffers, match=f"copy differs: Known of uploads {UPLOAD.id[:2]}….* 2 .*1"
    ):
        await move(Pretended(CONTENT, CONTENT), Pretended(loses=-1))


async def test_a_source_that_changed_meanwhile_is_noticed() -> None:
    """A server that was started and stopped between two looks."""
    with pytest.raises(MoveDiffers, match="source changed"):
        await move(Pretended(CONTENT, CONTENT[:-1]), Pretended())


async def test_nothing_is_moved_out_of_an_empty_store() -> None:
    """Before the target is touched."""
    target = Pretended()
    with pytest.raises(MoveRefused, match="nothing to copy"):
        await move(Pretended([Hooks(("a",))]), target)
    assert target.pieces == []
