"""Leases and commits against a small model: any sequence of steps of two instances."""

import asyncio
import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.contract.states import LEASE_SECONDS, STATES, a_visit, an_upload
from tusd_py.core.upload import Status, Upload
from tusd_py.state.base import (
    Lease,
    LeaseBusy,
    LeaseGone,
    Purpose,
    RecordUnknown,
    Seen,
    Taken,
)

UPLOADS = st.integers(1, 3)
JOINING = 3
"""The number of the one that is put together of parts."""
INSTANCES = st.integers(0, 1)


@dataclass
class Row:
    """What the model knows of one record."""

    offset: int = 0
    number: int = 0
    holder: str | None = None
    deadline: float = 0.0
    is_clean: bool = True
    was_settled: bool = True


def a_record(number: int, **changes: Any) -> Upload:
    status = Status.JOINING if number == JOINING else Status.RECEIVING
    return an_upload(number, status=status, **changes)


class LeaseMachine(RuleBasedStateMachine):
    kind: str

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.rows: dict[int, Row] = {}
        self.leases: list[tuple[int, int, Lease]] = []

    @initialize()
    def open(self) -> None:
        folder = self.stack.enter_context(tempfile.TemporaryDirectory())

        async def start() -> None:
            self.rig = await self.stack.enter_async_context(STATES[self.kind](Path(folder)))
            self.states = [await self.rig.open(), await self.rig.open()]

        self.runner.run(start())

    def teardown(self) -> None:
        self.runner.run(self.stack.aclose())
        self.runner.close()

    def is_live(self, row: Row) -> bool:
        return row.holder is not None and row.deadline > self.rig.clock()

    def holds(self, number: int, lease: Lease) -> bool:
        row = self.rows.get(number)
        return row is not None and self.is_live(row) and row.holder == lease.holder

    def granted(self, instance: int, number: int, lease: Lease) -> None:
        row = self.rows[number]
        row.was_settled = row.is_clean
        row.is_clean, row.holder = False, lease.holder
        row.number += 1
        row.deadline = self.rig.clock() + LEASE_SECONDS
        assert lease.number == row.number and lease.deadline <= row.deadline
        self.leases.append((instance, number, lease))

    @rule(instance=INSTANCES, number=UPLOADS, with_lease=st.booleans())
    def create(self, instance: int, number: int, with_lease: bool) -> None:
        if number in self.rows:
            return
        created = self.runner.run(
            self.states[instance].create(a_record(number), [], with_lease=with_lease)
        )
        self.rows[number] = Row()
        assert (created.lease is not None) == with_lease
        if created.lease is not None:
            self.granted(instance, number, created.lease)

    @rule(instance=INSTANCES, number=UPLOADS, purpose=st.sampled_from(Purpose))
    def take(self, instance: int, number: int, purpose: Purpose) -> None:
        row = self.rows.get(number)
        taking = self.states[instance].take(a_visit(a_record(number), purpose))
        if row is None:
            with pytest.raises(RecordUnknown):
                self.runner.run(taking)
        elif (purpose is Purpose.READ and row.is_clean) or (
            number == JOINING and purpose in (Purpose.READ, Purpose.APPEND)
        ):
            got: Any = self.runner.run(taking)
            assert isinstance(got, Seen) and got.upload.offset == row.offset
        elif self.is_live(row):
            with pytest.raises(LeaseBusy):
                self.runner.run(taking)
        else:
            got = self.runner.run(taking)
            assert isinstance(got, Taken) and got.upload.offset == row.offset
            assert got.is_settled == (row.is_clean and purpose is not Purpose.SWEEP)
            self.granted(instance, number, got.lease)

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), release=st.booleans())
    def commit(self, data: st.DataObject, release: bool) -> None:
        instance, number, lease = data.draw(st.sampled_from(self.leases))
        row = self.rows.get(number, Row())
        upload = a_record(number, offset=row.offset + 1)
        committing = self.states[instance].commit(lease, upload, release=release)
        if not self.holds(number, lease):
            with pytest.raises(LeaseGone):
                self.runner.run(committing)
            return
        self.runner.run(committing)
        row.offset += 1
        row.was_settled = True
        row.deadline = self.rig.clock() + LEASE_SECONDS
        if release:
            row.holder, row.is_clean = None, True

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        instance, number, lease = data.draw(st.sampled_from(self.leases))
        self.runner.run(self.states[instance].release(lease))
        if self.holds(number, lease):
            row = self.rows[number]
            row.holder, row.is_clean = None, row.was_settled

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        instance, number, lease = data.draw(st.sampled_from(self.leases))
        removing = self.states[instance].remove(lease)
        if self.holds(number, lease):
            self.runner.run(removing)
            del self.rows[number]
        else:
            with pytest.raises(LeaseGone):
                self.runner.run(removing)

    @rule(seconds=st.sampled_from([0.5, LEASE_SECONDS / 2, LEASE_SECONDS]))
    def wait(self, seconds: float) -> None:
        self.rig.clock.advance(seconds)

    @rule(instance=INSTANCES)
    def die(self, instance: int) -> None:
        """An instance that ends lets go of nothing; where death shows, its leases are over."""

        async def restart() -> None:
            await self.states[instance].close()
            self.states[instance] = await self.rig.open()

        self.runner.run(restart())
        for n, number, lease in self.leases:
            if n == instance and self.rig.shows_death and self.holds(number, lease):
                self.rows[number].deadline = self.rig.clock()
        self.leases = [each for each in self.leases if each[0] != instance]

    @invariant()
    def the_records_are_those_of_the_model(self) -> None:
        if not self.rows:
            return
        for number, row in self.rows.items():
            found = self.runner.run(self.states[0].find(a_record(number).id))
            assert found is not None
            assert replace(found, master="") == a_record(number, offset=row.offset)


@pytest.mark.parametrize("kind", sorted(STATES))
def test_any_sequence_of_steps_keeps_to_the_model(kind: str) -> None:
    """Exclusive, numbered, in time: whatever two instances do in whatever order."""
    machine = type("Machine", (LeaseMachine,), {"kind": kind})
    run_state_machine_as_test(machine, settings=settings(max_examples=40, stateful_step_count=30))
