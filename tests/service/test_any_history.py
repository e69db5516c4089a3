"""Any history of one installation, against a model of what was promised.

Hypothesis makes up sequences of creations, appends, cuts, cancellations, deaths, HEADs,
terminations, expiries, restarts and losses of the state. The model is small: for each upload the
bytes that the client means to send, how many of them were acknowledged, and how it ended.
"""

import asyncio
import tempfile
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    rule,
)

from tests.service.world import Body, Killed, World
from tusd_py.core.errors import ClientGone, OffsetMismatch, UploadUnknown
from tusd_py.core.events import EventKind
from tusd_py.core.ids import UploadId
from tusd_py.core.reconcile import Durability
from tusd_py.core.upload import Status, Upload
from tusd_py.state.base import Due
from tusd_py.streams import SourceEnd

T = TypeVar("T")


@dataclass
class Promised:
    """One upload as its client knows it."""

    id: UploadId
    content: bytes
    acknowledged: int = 0
    is_complete: bool = False
    is_gone: bool = False


class Histories(RuleBasedStateMachine):
    """Each rule is one thing that happens; after each the promises hold."""

    backend_name = "sqlite"
    uploads: Bundle[Promised] = Bundle("uploads")

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.all: list[Promised] = []

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    @initialize(durability=st.sampled_from(list(Durability)))
    def begin(self, durability: Durability) -> None:
        self.world = World(
            Path(self.folder.name), durability=durability, backend_name=self.backend_name
        )
        self.run(self.world.start())

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.run(self.world.kill())
        self.runner.close()
        self.folder.cleanup()

    # ------------------------------------------------------------------ what happens

    @rule(target=uploads, content=st.binary(max_size=12), first=st.integers(0, 12))
    def create(self, content: bytes, first: int) -> Promised:
        upload = self.run(self.world.create(len(content), content[:first]))
        made = Promised(upload.id, content)
        self.all.append(made)
        self.acknowledge(made, upload)
        return made

    @rule(
        of=uploads,
        size=st.integers(0, 12),
        end=st.sampled_from([SourceEnd.COMPLETE, SourceEnd.HUNG_UP, SourceEnd.TOO_SLOW]),
    )
    def append(self, of: Promised, size: int, end: SourceEnd) -> None:
        """A client that knows its offset sends the next bytes, perhaps not to the end."""
        start = of.acknowledged
        piece = of.content[start : start + size]
        body = Body(*([piece] if piece else []), end=end, announced=False)
        if of.is_gone:
            with pytest.raises(UploadUnknown):
                self.run(self.world.append(of.id, start, body))
        elif end is SourceEnd.COMPLETE or of.is_complete:
            with suppress(OffsetMismatch):  # it had got further than its client knows
                self.acknowledge(of, self.run(self.world.append(of.id, start, body)))
        else:
            self.run(self.cut(of, start, body))

    async def cut(self, of: Promised, start: int, body: Body) -> None:
        with suppress(OffsetMismatch):
            try:
                await self.world.append(of.id, start, body)
            except ClientGone:
                pass
            except Exception as exc:
                assert getattr(exc, "code", "") in ("ERR_BODY_TOO_SLOW", "ERR_OFFSET_MISMATCH")

    @rule(of=uploads, size=st.integers(1, 12))
    def cancel(self, of: Promised, size: int) -> None:
        """The request is cancelled in mid-body, as a stop that took too long does."""
        start = of.acknowledged
        body = Body(of.content[start : start + size] or b"x", b"y", hold_before=1)

        async def act() -> None:
            patch = asyncio.create_task(self.world.append(of.id, start, body))
            held = asyncio.create_task(body.reached_hold.wait())
            await asyncio.wait({patch, held}, return_when=asyncio.FIRST_COMPLETED)
            held.cancel()
            patch.cancel()
            await asyncio.wait({patch})
            if not patch.cancelled():
                patch.exception()

        self.run(act())

    @rule(of=uploads, size=st.integers(0, 12), call=st.integers(1, 9), after=st.booleans())
    def die(self, of: Promised, size: int, call: int, after: bool) -> None:
        """The process dies at one of its calls to store and state while it appends."""
        start = of.acknowledged
        fate = self.world.fate
        fate.die_at = (len(fate.calls) + call, "after" if after else "before")
        try:
            with suppress(UploadUnknown, OffsetMismatch):
                piece = of.content[start : start + size]
                self.acknowledge(of, self.run(self.world.append(of.id, start, piece)))
        except Killed:
            pass
        self.run(self.world.restart())

    @rule(of=uploads)
    def head(self, of: Promised) -> None:
        if of.is_gone:
            with pytest.raises(UploadUnknown):
                self.run(self.world.head(of.id))
        else:
            self.acknowledge(of, self.run(self.world.head(of.id)))

    @rule(of=consumes(uploads))
    def terminate(self, of: Promised) -> None:
        if of.is_gone:
            with pytest.raises(UploadUnknown):
                self.run(self.world.terminate(of.id))
        else:
            self.run(self.world.terminate(of.id))
        of.is_gone = True
        with pytest.raises(UploadUnknown):
            self.run(self.world.head(of.id))

    @rule()
    def restart(self) -> None:
        self.run(self.world.restart())

    @rule()
    def lose_state(self) -> None:
        self.run(self.world.deliver())
        self.run(self.world.lose_state())

    @rule(long_enough=st.booleans())
    def sweep(self, long_enough: bool) -> None:
        """Time passes, perhaps past the expiry of what is unfinished."""
        expiring = self.world.settings.expire_seconds or 0.0
        # Who lost the state cannot know how far progress had put an expiry off: it begins anew
        # with the adoption, which therefore has to come before the time that passes.
        self.run(self.walk_all())
        self.world.pass_time(expiring + 1 if long_enough else 1.0)
        self.run(self.sweep_all())
        if long_enough:
            for of in self.all:
                of.is_gone = of.is_gone or not self.is_finished(of)

    async def walk_all(self) -> None:
        while await self.world.sweeper.walk() is not None:
            pass

    async def sweep_all(self) -> None:
        await self.walk_all()
        for due in Due:
            await self.world.sweeper.sweep(due)

    # ------------------------------------------------------------------ what was promised

    def acknowledge(self, of: Promised, upload: Upload) -> None:
        assert upload.offset >= of.acknowledged, "an acknowledged offset decreased"
        assert not of.is_complete or upload.status is Status.COMPLETE
        of.acknowledged = upload.offset
        if upload.offset == len(of.content):
            assert upload.status is Status.COMPLETE, "offset = length before completion"
            of.is_complete = True

    def is_finished(self, of: Promised) -> bool:
        record = self.run(self.world.state.find(of.id))
        return record is not None and record.status is Status.COMPLETE

    @invariant()
    def acknowledged_bytes_are_there(self) -> None:
        for of in self.all:
            if not of.is_gone:
                assert (
                    self.world.content(of.id)[: of.acknowledged] == (of.content[: of.acknowledged])
                )

    @invariant()
    def completion_is_told_once(self) -> None:
        if not hasattr(self, "world"):
            return
        self.run(self.world.deliver())
        for of in self.all:
            told = self.world.told(EventKind.COMPLETED, of.id)
            assert len(told) <= 1
            if of.is_complete and not of.is_gone:
                assert told, "success was told to the client and not to the hook"


class HistoriesOnRedis(Histories):
    backend_name = "redis"


Histories.TestCase.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
TestHistories = Histories.TestCase
HistoriesOnRedis.TestCase.settings = settings(
    max_examples=15, stateful_step_count=20, deadline=None
)
TestHistoriesOnRedis = HistoriesOnRedis.TestCase
