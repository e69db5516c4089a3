"""The contract of moving: all that a state holds, out of one store and into another.

For installations that are stopped. What is moved are records with their ``once`` keys, and events:
those that hooks have not taken, in order, with what came of each try so far, dead letters, and the
ids of all that are remembered, so that none is told again under its id. What is not moved are
leases, boots of hosts and quotas: they are of the processes that are gone. Every record that was
moved is of another generation, so that bytes and record are reconciled before it is believed.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import dataclass

from tusd_py.core.events import Event
from tusd_py.core.ids import EventId
from tusd_py.core.upload import Upload


class MoveRefused(Exception):
    """It may not be moved as things stand; the text tells an operator what to do. Nothing was
    changed."""


@dataclass(frozen=True, slots=True)
class Hooks:
    """The names that get every event committed from now on."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Record:
    """An upload. Its ``master`` is empty."""

    upload: Upload
    once: str | None
    """The SHA-1 of its key (in UTF-8, lone surrogates included) in hexadecimal: more is not kept.
    None also where another upload may have the key by now, because this one is gone."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """An event that a hook has not taken yet."""

    hook: str
    event: Event
    attempts: int
    due_at: float
    is_next: bool
    """Of those of its upload this one goes out next: the first one, unless earlier ones were made
    to wait again, as dead letters are that are replayed."""


@dataclass(frozen=True, slots=True)
class Dead:
    """An event that is a dead letter of a hook."""

    hook: str
    event: Event
    attempts: int
    reason: str
    buried_at: float


@dataclass(frozen=True, slots=True)
class Known:
    """An event that is remembered, whether or not anybody still waits for it."""

    event_id: EventId
    occurred_at: float
    upload_digits: str
    """The first two digits of its upload's id: stores that are divided by them look there."""


Piece = Hooks | Record | Waiting | Dead | Known


class Movable(ABC):
    """What can be moved. Both methods raise StateError where the store cannot be asked."""

    @abstractmethod
    def dump(self) -> AsyncIterator[Piece]:
        """All there is: hooks first, then records, then what waits and what is dead, of one upload
        together and in the order of its commits, then what is remembered.

        In bounded memory. Raises MoveRefused before the first piece, or after the last one, where
        the installation is not stopped: a lease is live, or another process works on the store.
        """

    @abstractmethod
    async def restore(self, pieces: AsyncIterable[Piece]) -> None:
        """Take in what a ``dump`` gives, as it gives it. What can be dumped afterwards is the same.

        Raises MoveRefused where the installation is not stopped, or the store holds any upload or
        event. Where it ends early, what raises included, the store holds a part, and ``open``
        refuses it from then on and says how to clear it.
        """
