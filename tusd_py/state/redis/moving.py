"""The contract of moving, in Redis: what was begun and not ended is marked, and not opened."""

import asyncio
import secrets
from abc import abstractmethod
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from itertools import groupby
from typing import Final

from tusd_py.core.ids import UploadId
from tusd_py.state.base import StateError
from tusd_py.state.moving import Dead, Hooks, Known, Movable, MoveRefused, Piece, Record, Waiting
from tusd_py.state.redis.codec import changing_fields, facts_text, fixed_fields, raw
from tusd_py.state.redis.dumping import dump_all
from tusd_py.state.redis.event_codec import event_args
from tusd_py.state.redis.heads import Heads
from tusd_py.state.redis.link import Arg, Link
from tusd_py.state.redis.scripts import Script

TAKEN_AT_ONCE: Final = 2000
"""Pieces that are held here until they are put in."""
PUT_AT_ONCE: Final = 100
"""Pieces in one call: Redis serves nobody else meanwhile."""

MOVING: Final = Script("moving")
MOVABLE: Final = Script("movable")
ADD_RECORDS: Final = Script("restore_records", parts=("records",))
ADD_KEYS: Final = Script("restore_keys")
ADD_EVENTS: Final = Script("restore_events", parts=("events",))
ADD_KNOWN: Final = Script("restore_known")

Delivery = Waiting | Dead


class RedisMoving(Movable):
    """The contract of moving, on a link."""

    @property
    @abstractmethod
    def _link(self) -> Link:
        """Raises StateError where the store is not open."""

    @property
    @abstractmethod
    def _heads(self) -> Heads:
        """Raises StateError where the store is not open."""

    @property
    @abstractmethod
    def _process(self) -> str:
        """The name of this process, as others know it."""

    async def dump(self) -> AsyncIterator[Piece]:
        link, process = self._link, self._process
        await _check_stopped(link, process)
        async for piece in dump_all(link):
            yield piece
        await _check_stopped(link, process)

    async def restore(self, pieces: AsyncIterable[Piece]) -> None:
        link, process = self._link, self._process
        if await _check_stopped(link, process):
            raise MoveRefused(
                f"the state in Redis under the prefix {link.prefix!r} is not empty: a copy never "
                "overwrites; give another prefix, or remove its keys first"
            )
        await link.call_meta(MOVING, process, "begin")
        async for some in _batches(pieces):
            await _Batch(link, some).put()
        await link.call_meta(MOVING, process, "end")
        self._heads.age()


async def refuse_unfinished(link: Link, process: str) -> None:
    """Raises StateError where a copy into this state was begun and not ended."""
    mark, *_ = await link.call_meta(MOVING, process, "")
    if mark:
        raise StateError(
            f"a copy into the state in Redis under the prefix {link.prefix!r} was not finished, so "
            f"that it holds a part only: remove all keys that begin with {link.prefix + ':'!r}, "
            "and copy again"
        )


async def _check_stopped(link: Link, process: str) -> bool:
    """Whether there is anything in it. Raises MoveRefused where the installation is not stopped."""
    _, *others = await link.call_meta(MOVING, process, "")
    if others:
        latest = min(float(ago) for ago in others) / 1000
        raise MoveRefused(
            f"another process works on the state in Redis (last heard of {latest:.1f} s ago): stop "
            "every server, then copy again; one that was killed is forgotten within a lease's time"
        )
    replies = await link.call_all(MOVABLE)
    if any(held for held, _ in replies):
        raise MoveRefused(
            "an upload is being written just now: stop every server, then copy again (the lease of "
            "one that was killed runs out by itself)"
        )
    return any(is_full for _, is_full in replies)


async def _batches(pieces: AsyncIterable[Piece]) -> AsyncIterator[list[Piece]]:
    """As many as may be held at a time; the deliveries of one event are not parted."""
    batch: list[Piece] = []
    async for piece in pieces:
        if len(batch) >= TAKEN_AT_ONCE and not _is_same_event(batch[-1], piece):
            yield batch
            batch = []
        batch.append(piece)
    yield batch


def _is_same_event(one: Piece, other: Piece) -> bool:
    if isinstance(one, Waiting | Dead) and isinstance(other, Waiting | Dead):
        return one.event.id == other.event.id
    return False


class _Batch:
    """Pieces on their way, of each kind and bucket together and in their order."""

    def __init__(self, link: Link, pieces: Sequence[Piece]) -> None:
        self._link = link
        self._hooks: tuple[str, ...] | None = None
        self._calls: dict[tuple[Script, int], list[list[Arg]]] = {}
        deliveries: list[Delivery] = []
        for piece in pieces:
            match piece:
                case Hooks():
                    self._hooks = piece.names
                case Record():
                    self._add_record(piece)
                case Waiting() | Dead():
                    deliveries.append(piece)
                case Known():
                    member = bytes.fromhex(piece.upload_digits + piece.event_id)
                    at = repr(float(piece.occurred_at))
                    self._add(ADD_KNOWN, self._bucket(piece.upload_digits), [member, at])
        for _, some in groupby(deliveries, key=lambda one: one.event.id):
            self._add_deliveries(list(some))

    async def put(self) -> None:
        if self._hooks is not None:
            await self._link.register_hooks(self._hooks)
        # Those of one bucket one after the other: what waits must stay in order.
        await asyncio.gather(*(self._put(*where) for where in self._calls))

    async def _put(self, script: Script, bucket: int) -> None:
        items = self._calls[script, bucket]
        for first in range(0, len(items), PUT_AT_ONCE):
            some = items[first : first + PUT_AT_ONCE]
            is_counted = script in (ADD_RECORDS, ADD_EVENTS)
            args: list[Arg] = [len(some)] if is_counted else []
            for item in some:
                args += item
            await self._link.call(script, bucket, *args)

    def _add(self, script: Script, bucket: int, args: list[Arg]) -> None:
        self._calls.setdefault((script, bucket), []).append(args)

    def _bucket(self, digits: str) -> int:
        return self._link.bucket_of(UploadId(digits))

    def _add_record(self, record: Record) -> None:
        upload, key = record.upload, b""
        if record.once is not None:
            digest, mark = bytes.fromhex(record.once), secrets.token_hex(8)
            key = digest + mark.encode("ascii")
            at = self._link.bucket_of_digest(digest)
            self._add(ADD_KEYS, at, [digest, upload.id, mark])
        fields = fixed_fields(upload) + changing_fields(upload)
        args: list[Arg] = [upload.id, facts_text(upload), key, len(fields) // 2, *fields]
        self._add(ADD_RECORDS, self._bucket(upload.id), args)

    def _add_deliveries(self, some: list[Delivery]) -> None:
        event = some[0].event
        _, event_id, *rest = event_args([event])
        args: list[Arg] = [event_id, event.upload_id, *rest, len(some)]
        for one in some:
            if isinstance(one, Dead):
                args += [
                    one.hook,
                    "dead",
                    one.attempts,
                    repr(float(one.buried_at)),
                    raw(one.reason),
                ]
            else:
                state = "next" if one.is_next else "waiting"
                args += [one.hook, state, one.attempts, repr(float(one.due_at)), ""]
        self._add(ADD_EVENTS, self._bucket(event.upload_id), args)
