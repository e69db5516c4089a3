"""Moves a stopped installation from one state store into another, and shows that all of it came.

Nothing of either store is held in memory: what they hold is compared by how many pieces there are
and by sums of their digests, of each kind and for each first two digits of uploads' ids.
"""

import hashlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass, fields
from enum import Enum
from typing import Any, Final

from tusd_py.core.events import Event
from tusd_py.core.upload import Upload
from tusd_py.state.moving import Dead, Hooks, Known, Movable, MoveRefused, Piece, Record, Waiting

SUM_BITS: Final = 256
MAX_NAMED: Final = 8
"""So many places where two stores differ are named."""


class MoveDiffers(Exception):
    """What arrived is not what was there; the text says where."""


@dataclass(frozen=True, slots=True)
class Moved:
    """How much was moved."""

    uploads: int
    waiting: int
    """Events that hooks have not taken, counted for each hook."""
    dead_letters: int
    remembered: int
    """Ids of events that are not told again."""


class Tally:
    """What went by, in a bounded space. Two are equal where the same pieces went by, those of one
    upload in the same order."""

    def __init__(self) -> None:
        self._sums: dict[tuple[str, str], tuple[int, int]] = {}
        self._place = _Place()

    def add(self, piece: Piece) -> None:
        digits = _digits(piece)
        text = f"{self._place.of(piece)} {_canonical(piece)}".encode()
        key = (type(piece).__name__, digits)
        count, total = self._sums.get(key, (0, 0))
        digest = int.from_bytes(hashlib.sha256(text).digest(), "big")
        self._sums[key] = (count + 1, (total + digest) % (1 << SUM_BITS))

    def count(self, kind: type[Piece]) -> int:
        return sum(count for (name, _), (count, _) in self._sums.items() if name == kind.__name__)

    def differences(self, other: "Tally") -> list[str]:
        """Where they differ, for people; none where they are equal."""
        keys = sorted(self._sums.keys() | other._sums.keys())
        return [
            f"{name} of uploads {digits}…: {self._sums.get((name, digits), (0,))[0]} there, "
            f"{other._sums.get((name, digits), (0,))[0]} here"
            for name, digits in keys
            if self._sums.get((name, digits)) != other._sums.get((name, digits))
        ]

    @property
    def moved(self) -> Moved:
        return Moved(
            uploads=self.count(Record),
            waiting=self.count(Waiting),
            dead_letters=self.count(Dead),
            remembered=self.count(Known),
        )


@dataclass(slots=True)
class _Place:
    """The how-manieth event of its upload a delivery tells of: they come in order, together."""

    upload_id: str = ""
    event_id: str = ""
    number: int = 0

    def of(self, piece: Piece) -> int:
        if not isinstance(piece, Waiting | Dead):
            return 0
        event = piece.event
        if event.upload_id != self.upload_id:
            self.upload_id, self.event_id, self.number = event.upload_id, event.id, 0
        elif event.id != self.event_id:
            self.event_id, self.number = event.id, self.number + 1
        return self.number


async def move(
    source: Movable, target: Movable, *, tell: Callable[[str], None] = lambda _: None
) -> Moved:
    """Copy all of ``source``, which stays as it is, into ``target``, which must be empty, and look
    at both: ``tell`` hears of each step.

    Raises MoveRefused before anything is changed, MoveDiffers where what arrived is not the same.
    """
    tell("reading the source")
    before = await _tally(source.dump())
    if before.moved == Moved(0, 0, 0, 0):
        raise MoveRefused("the source holds no upload and no event: there is nothing to copy")
    tell(f"copying {before.moved.uploads} uploads")
    passed = Tally()
    async with aclosing(_passing(source.dump(), passed)) as pieces:
        await target.restore(pieces)
    tell("comparing")
    arrived = await _tally(target.dump())
    for what, other in (("the source changed meanwhile", passed), ("the copy differs", arrived)):
        if found := before.differences(other):
            raise MoveDiffers(f"{what}: {'; '.join(found[:MAX_NAMED])}")
    return arrived.moved


async def _tally(pieces: AsyncIterator[Piece]) -> Tally:
    tally = Tally()
    async for piece in pieces:
        tally.add(piece)
    return tally


async def _passing(pieces: AsyncIterator[Piece], tally: Tally) -> AsyncGenerator[Piece]:
    async for piece in pieces:
        tally.add(piece)
        yield piece


# ------------------------------------------------------------------ pieces as text


def _digits(piece: Piece) -> str:
    match piece:
        case Record():
            return piece.upload.id[:2]
        case Waiting() | Dead():
            return piece.event.upload_id[:2]
        case Known():
            return piece.upload_digits
        case Hooks():
            return ""


def _canonical(piece: Piece) -> str:
    """ASCII text that is the same for equal pieces, however a store writes numbers and mappings."""
    match piece:
        case Record():
            return ascii((_upload_values(piece.upload), piece.once))
        case Waiting():
            return ascii(
                (piece.hook, _event_values(piece.event), piece.attempts, float(piece.due_at))
            )
        case Dead():
            fate = (piece.attempts, piece.reason, float(piece.buried_at))
            return ascii((piece.hook, _event_values(piece.event), *fate))
        case Known():
            return ascii((piece.event_id, float(piece.occurred_at)))
        case Hooks():
            return ascii(sorted(piece.names))


_NUMBERS: Final = ("created_at", "changed_at", "expires_at", "finished_at", "bytes_per_second")
_PLAIN: Final = tuple(
    name
    for name in (field.name for field in fields(Upload))
    if name not in (*_NUMBERS, "owner", "creator", "writer", "metadata", "overrides")
)


def _upload_values(upload: Upload) -> tuple[Any, ...]:
    return (
        *((name, _plain(getattr(upload, name))) for name in _PLAIN),
        *((name, _number(getattr(upload, name))) for name in _NUMBERS),
        (upload.owner.video_id, upload.owner.client_id),
        (upload.creator.host, upload.creator.boot_id),
        (upload.writer.host, upload.writer.boot_id),
        upload.metadata.wire,
        sorted(upload.overrides.items()),
    )


def _event_values(event: Event) -> tuple[Any, ...]:
    data = json.dumps(dict(event.data), sort_keys=True)
    return (event.id, event.upload_id, event.kind.value, float(event.occurred_at), data)


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, Enum) else value


def _number(value: float | None) -> float | None:
    return None if value is None else float(value)
