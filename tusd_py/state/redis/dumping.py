"""All that a state in Redis holds, read a page at a time: no call answers for long.

Of events the bodies are read last: what is held of a bucket meanwhile is the list of those that
wait or are dead there.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from operator import attrgetter
from typing import Any, Final

from tusd_py.core.events import Event
from tusd_py.core.ids import EventId
from tusd_py.core.upload import GONE
from tusd_py.state.moving import Dead, Hooks, Known, Piece, Record, Waiting
from tusd_py.state.redis.codec import id_from, record_from, text
from tusd_py.state.redis.event_codec import event_from
from tusd_py.state.redis.link import Arg, Link
from tusd_py.state.redis.outbox import BACKLOG
from tusd_py.state.redis.scripts import Script

PAGE: Final = 200
"""Redis serves nobody else while it reads one."""
DIGEST_BYTES: Final = 20

RECORDS: Final = Script("dump_records", parts=("records",))
QUEUES: Final = Script("dump_queues", parts=("events",))
LETTERS: Final = Script("dump_letters", parts=("events",))
BODIES: Final = Script("dump_bodies", parts=("events",))
KNOWN: Final = Script("dump_known")


@dataclass(frozen=True, slots=True)
class Entry:
    """One event on its way to one hook, or buried, without its body."""

    upload: bytes
    """Its id, in hexadecimal."""
    number: int
    """Grows in the order of commits."""
    event_id: bytes
    hook: str
    is_next: bool
    attempts: int
    at: float
    """When it is due, or was buried."""
    reason: str | None = None
    """None: it is not dead."""

    def piece(self, event: Event) -> Waiting | Dead:
        if self.reason is None:
            return Waiting(self.hook, event, self.attempts, self.at, self.is_next)
        return Dead(self.hook, event, self.attempts, self.reason, self.at)


async def dump_all(link: Link) -> AsyncIterator[Piece]:
    registered, names = await _hooks(link)
    yield Hooks(tuple(registered))
    for bucket in range(link.buckets):
        async for record in _records(link, bucket):
            yield record
    for bucket in range(link.buckets):
        async for delivery in _deliveries(link, bucket, names[bucket]):
            yield delivery
    for bucket in range(link.buckets):
        async for known in _known(link, bucket):
            yield known


async def _hooks(link: Link) -> tuple[list[str], dict[int, list[str]]]:
    """The registered ones, and those that ever had events in each bucket."""
    registered: set[bytes] = set()
    names: dict[int, list[str]] = {}
    for bucket, (hooks, *flat) in enumerate(await link.call_all(BACKLOG)):
        registered.update(hooks.split(b"\n") if hooks else ())
        names[bucket] = sorted(map(text, flat[::2]))
    return sorted(map(text, registered)), names


async def _records(link: Link, bucket: int) -> AsyncIterator[Record]:
    async for member, reply in _rows(link, RECORDS, bucket):
        upload = replace(record_from(id_from(member), reply), master="")
        key = dict(zip(reply[1::2], reply[2::2], strict=True)).get(b"O")
        is_its_own = key is not None and upload.status not in GONE
        yield Record(upload, key[:DIGEST_BYTES].hex() if key and is_its_own else None)


async def _deliveries(
    link: Link, bucket: int, hooks: Sequence[str]
) -> AsyncIterator[Waiting | Dead]:
    entries = [entry for hook in hooks for entry in await _entries(link, bucket, hook)]
    entries.sort(key=attrgetter("upload", "number", "hook"))
    by_event = [list(some) for _, some in groupby(entries, key=attrgetter("event_id"))]
    for first in range(0, len(by_event), PAGE):
        page = by_event[first : first + PAGE]
        bodies = await link.call(BODIES, bucket, *(some[0].event_id for some in page))
        for some, body in zip(page, bodies, strict=True):
            if body is not None:  # it is lost: nobody can be told of it
                event = event_from(some[0].event_id, body)
                for entry in some:
                    yield entry.piece(event)


async def _entries(link: Link, bucket: int, hook: str) -> list[Entry]:
    found: list[Entry] = []
    for which in ("due", "claims"):
        async for row in _rows(link, QUEUES, bucket, hook, which):
            upload, event_id, number, is_head, attempts, due = row
            place = (upload, int(number), event_id, hook)
            found.append(Entry(*place, is_head == b"1", int(attempts), float(due)))
    async for upload, event_id, number, buried_at, letter in _rows(link, LETTERS, bucket, hook):
        attempts, _, reason = letter.partition(b" ")
        place = (upload, int(number), event_id, hook)
        found.append(Entry(*place, False, int(attempts), float(buried_at), text(reason)))
    return found


async def _known(link: Link, bucket: int) -> AsyncIterator[Known]:
    async for member, at in _rows(link, KNOWN, bucket):
        yield Known(EventId(member[1:].hex()), float(at), member[:1].hex())


async def _rows(link: Link, script: Script, bucket: int, *args: Arg) -> AsyncIterator[Any]:
    """The rows of all pages of a set: each begins with how many members of the set it is about."""
    rank, count = 0, PAGE
    while count == PAGE:
        count, *rows = await link.call(script, bucket, *args, rank, PAGE)
        for row in rows:
            yield row
        rank += count
