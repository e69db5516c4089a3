"""Records and leases in Redis beyond the contract: round trips, push, clocks, memory."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest
from pydantic import SecretStr

from tests.contract.redis_states import ServerRig
from tests.contract.states import (
    BOOT,
    LEASE_SECONDS,
    OWNER,
    a_visit,
    an_event,
    an_upload,
    create_held,
    take,
    upload_id,
)
from tests.redis.records import check_fits, make_rig
from tests.support.redis_servers import RedisServer, redis_server
from tusd_py.core.events import EventKind
from tusd_py.core.identity import Owner
from tusd_py.core.ids import ClientId, UploadId, VideoId
from tusd_py.core.metadata import build_pairs
from tusd_py.core.upload import Boot, Status, Upload
from tusd_py.state.base import LeaseBusy, LeaseGone, Purpose, Seen, StateError, StateStore
from tusd_py.state.redis import uploads
from tusd_py.state.redis.settings import RedisSettings
from tusd_py.state.redis.store import RedisState

MANY: Final = 150
"""Calls of one kind, so many that what goes on in the background does not matter."""
AT_FIRST: Final = 20
"""Scripts that make sure of all buckets, once messages are heard."""
IN_BACKGROUND: Final = 4
"""Scripts of heartbeats in a second, and looks at a share of the buckets."""
NEVER: Final = 1000.0
HAND_OVER_SECONDS: Final = 20.0


@pytest.fixture
async def rig() -> AsyncIterator[ServerRig]:
    async with make_rig() as made:
        yield made


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[RedisServer]:
    """As conf/redis recommends for many uploads."""
    config = {"zset-max-listpack-entries": 512}
    async with redis_server(tmp_path / "redis", engine="7", config=config) as running:
        yield running


@pytest.fixture
async def real(server: RedisServer) -> AsyncIterator[RedisState]:
    """On the real clocks."""
    settings = RedisSettings(url=SecretStr(server.url))
    state = RedisState(settings, boot=BOOT, lease_seconds=LEASE_SECONDS, clock=time.monotonic)
    await state.open()
    try:
        yield state
    finally:
        await state.close()


class TestRoundTrips:
    """Each is one run of one script, for which the server is asked once."""

    async def runs(self, server: RedisServer, act: Callable[[int], Awaitable[Any]]) -> float:
        """How many scripts one ``act`` runs, by the server's own count."""

        async def count() -> int:
            told = await server.info("commandstats")
            return int(told["cmdstat_evalsha"]["calls"])

        before, began = await count(), time.monotonic()
        for number in range(1, MANY + 1):
            await act(number)
        seconds = time.monotonic() - began
        runs = await count() - before
        extra = AT_FIRST + IN_BACKGROUND * (seconds + 1)
        each = runs // MANY
        assert runs - each * MANY <= extra < MANY
        return each

    async def test_a_head_takes_one(self, server: RedisServer, real: RedisState) -> None:
        await real.create(an_upload(), [], with_lease=False)

        async def head(_: int) -> None:
            assert isinstance(await real.take(a_visit(an_upload(), Purpose.READ)), Seen)

        assert await self.runs(server, head) == 1

    async def test_a_patch_takes_two(self, server: RedisServer, real: RedisState) -> None:
        """Lease and record, then commit, events and release."""
        await real.register(["hook"])
        await real.create(an_upload(), [], with_lease=False)

        async def patch(number: int) -> None:
            got = await take(real, an_upload())
            event = an_event(an_upload(), EventKind.COMPLETED, number)
            await real.commit(got.lease, an_upload(offset=number), [event], release=True)

        assert await self.runs(server, patch) == 2

    async def test_a_checkpoint_takes_one(self, server: RedisServer, real: RedisState) -> None:
        lease = await create_held(real, an_upload())

        async def checkpoint(number: int) -> None:
            await real.commit(lease, an_upload(offset=number), release=False)

        assert await self.runs(server, checkpoint) == 1

    async def test_a_creation_takes_one(self, server: RedisServer, real: RedisState) -> None:
        async def create(number: int) -> None:
            upload = an_upload(number)
            await real.create(upload, [an_event(upload)], with_lease=number % 2 == 0)

        assert await self.runs(server, create) == 1

    async def test_a_creation_with_a_key_of_one_file_takes_one_more(
        self, server: RedisServer, real: RedisState
    ) -> None:
        """One that finds an earlier upload takes as many."""

        async def create(number: int) -> None:
            made = await real.create(an_upload(number), [], with_lease=False, once=f"{number // 2}")
            assert made.is_new == (number % 2 == 0 or number == 1)

        assert await self.runs(server, create) == 2


class TestHandOver:
    async def test_it_is_pushed_and_not_polled(
        self, rig: ServerRig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Both ways: nobody would look again for a quarter of an hour."""
        monkeypatch.setattr(uploads, "LOOK_SECONDS", NEVER)
        state, other = await rig.open(), await rig.open()
        lease = await create_held(state, an_upload())
        monkeypatch.setattr(other, "_lease_seconds", NEVER)
        freeze_deadlines(other, monkeypatch)
        waiting = asyncio.create_task(take(other, an_upload(), wait_seconds=NEVER))
        async with asyncio.timeout(HAND_OVER_SECONDS):
            await lease.asked.wait()
            await state.commit(lease, an_upload(offset=7), release=True)
            assert (await waiting).upload.offset == 7

    async def test_messages_that_are_lost_cost_a_second(
        self, rig: ServerRig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The holder learns of the wish by its checkpoint, who waits by looking again."""
        state, other = await rig.open(), await rig.open()
        for deaf in (state, other):
            assert isinstance(deaf, RedisState)
            monkeypatch.setattr(deaf._open_parts.peers, "on_message", lambda _: None)
        lease = await create_held(state, an_upload())
        waiting = asyncio.create_task(take(other, an_upload(), wait_seconds=NEVER))
        async with asyncio.timeout(HAND_OVER_SECONDS):
            while not lease.asked.is_set():
                await state.commit(lease, an_upload(offset=3), release=False)
            await state.commit(lease, an_upload(offset=7), release=True)
            assert (await waiting).upload.offset == 7

    async def test_who_waits_for_a_dead_holder_gets_it_at_its_deadline(
        self, real: RedisState, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Not at the next look, and not before."""
        monkeypatch.setattr(uploads, "LOOK_SECONDS", NEVER)
        monkeypatch.setattr(real, "_lease_seconds", 0.4)
        monkeypatch.setattr(real._link, "_lease_ms", 400)
        lease = await create_held(real, an_upload())
        got = await take(real, an_upload(), wait_seconds=HAND_OVER_SECONDS)
        late = time.monotonic() - lease.deadline
        assert lease.is_over and late < HAND_OVER_SECONDS / 2
        assert not got.is_settled
        with pytest.raises(LeaseGone):
            await real.commit(lease, an_upload(), release=True)

    async def test_a_wish_that_ends_leaves_nobody_waiting(self, rig: ServerRig) -> None:
        """Those who are noted as waiting are forgotten once the lease is let go or taken."""
        state, other = await rig.open(), await rig.open()
        lease = await create_held(state, an_upload())
        with pytest.raises(LeaseBusy):
            await take(other, an_upload(), wait_seconds=0.01)
        key = f"{rig.settings.prefix}:{{00}}:waiting"
        assert await rig.server.call("HLEN", key) == 1
        await state.release(lease)
        assert await rig.server.call("EXISTS", key) == 0


def freeze_deadlines(state: StateStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes every holder's lease for an endless one."""
    assert isinstance(state, RedisState)
    monkeypatch.setattr(state, "_bounded", lambda _: NEVER)


class TestClocks:
    async def test_a_holder_never_believes_longer_than_the_store(
        self, server: RedisServer, real: RedisState
    ) -> None:
        """Both on one clock here, to the microsecond: no deadline is rounded down."""
        real._clock = time.time
        key = f"{real._link.prefix}:{{01}}:u:{upload_id(1)}"
        lease = await create_held(real, an_upload())
        async with server.client() as client:
            for number in range(200):
                kept = float(await client.hget(key, "D") or 0) / 1000
                assert lease.deadline <= kept < lease.deadline + LEASE_SECONDS
                await real.commit(lease, an_upload(offset=number), release=False)

    async def test_commit_in_time_who_was_stopped_asks_nobody_whether_it_may(
        self, rig: ServerRig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """[commit-in-time] The server's clock was put back meanwhile: one's own tells."""
        state = await rig.open()
        lease = await create_held(state, an_upload())
        monkeypatch.setattr(rig, "show_time", lambda: None)
        rig.clock.advance(LEASE_SECONDS)
        with pytest.raises(LeaseGone):
            await state.commit(lease, an_upload(offset=9), release=False)
        with pytest.raises(LeaseGone):
            await state.remove(lease)
        assert (await check_fits(rig))[upload_id(1)].offset == 0

    async def test_a_server_whose_clock_was_put_back_makes_nobody_wait_for_longer_than_a_lease(
        self, rig: ServerRig
    ) -> None:
        state = await rig.open()
        await create_held(state, an_upload())
        rig.clock.advance(-3600)
        with pytest.raises(LeaseBusy) as busy:
            await take(state, an_upload())
        assert busy.value.retry_after_seconds == LEASE_SECONDS


class TestMemory:
    async def test_an_open_upload_takes_less_than_a_kibibyte(
        self, server: RedisServer, real: RedisState
    ) -> None:
        """All indexes included, with the metadata that a browser sends."""
        boot = Boot("upload-07", "5f0d9c2e-3b8a-4c11-9d52-8a6f1c0e7b43")

        def an_open_one(number: int) -> Upload:
            values = {
                "filename": b"Holiday in Lisbon 2024, part %05d.mp4" % number,
                "filetype": b"video/mp4",
                "video_id": b"%d" % (100_000 + number),
                "client_id": b"%d" % (4_000 + number),
            }
            now = time.time()
            return Upload(
                id=UploadId(random.randbytes(16).hex()),
                owner=Owner(VideoId(str(100_000 + number)), ClientId(str(4_000 + number))),
                length=734_003_200 + number,
                offset=8 * 1024 * 1024,
                created_at=now,
                changed_at=now,
                expires_at=now + 86_400,
                creator=boot,
                writer=boot,
                metadata=build_pairs(values),
            )

        async def make(first: int, number: int) -> int:
            for start in range(first, first + number, 100):
                await asyncio.gather(
                    *(
                        real.create(an_open_one(n), [], with_lease=False)
                        for n in range(start, start + 100)
                    )
                )
            return int((await server.info("memory"))["used_memory"])

        before = await make(0, 1000)
        after = await make(1000, 1000)
        assert (after - before) / 1000 <= 1024

    async def test_a_record_stays_packed_whatever_becomes_of_it(self, rig: ServerRig) -> None:
        """Redis never packs again what was too large once."""
        state, other = await rig.open(), await rig.open()
        await state.register(["hook"])
        key = f"{rig.settings.prefix}:{{00}}:u:{upload_id(1)}"
        upload = an_upload(
            owner=OWNER,
            writer=Boot("upload-07.example.org", "5f0d9c2e-3b8a-4c11-9d52-8a6f1c0e7b43"),
            digests=(("sha-256", "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="),),
            expires_at=1e10 + 1 / 3,
        )
        created = await state.create(upload, [an_event(upload)], with_lease=True, once="key")
        assert created.lease is not None
        for _ in range(3):
            with pytest.raises(LeaseBusy):
                await take(other, upload, wait_seconds=0.01)
        await state.commit(created.lease, upload, release=False)
        assert created.lease.asked.is_set()
        await state.commit(created.lease, replace(upload, place="a/b.mp4"), release=True)
        assert await rig.server.call("OBJECT", "ENCODING", key) in (b"listpack", b"ziplist")


async def test_uploads_are_removed_where_memory_has_run_out(rig: ServerRig) -> None:
    """By whoever terminates or sweeps; nothing else goes on, and all that is held is let go."""
    state = await rig.open()
    await state.register(["hook"])
    await state.create(an_upload(1), [], with_lease=True)
    lease = await create_held(state, an_upload(2))
    rig.clock.advance(1)
    held = await create_held(state, an_upload(3))
    rig.clock.advance(LEASE_SECONDS - 1)
    await rig.server.call("CONFIG", "SET", "maxmemory", 1)
    try:
        for refused in (
            state.create(an_upload(4), [], with_lease=False),
            state.commit(held, an_upload(3, offset=9), release=False),
            state.take(a_visit(an_upload(1))),
        ):
            with pytest.raises(StateError, match="memory"):
                await refused
        await state.release(held)
        assert lease.is_over
        for number, purpose in ((1, Purpose.SWEEP), (2, Purpose.TERMINATE)):
            got = await take(state, an_upload(number), purpose)
            ending = an_upload(number, status=Status.TERMINATING)
            await state.commit(got.lease, ending, release=False)
            await state.remove(got.lease, [an_event(ending, EventKind.TERMINATED)])
    finally:
        await rig.server.call("CONFIG", "SET", "maxmemory", 0)
    assert (await check_fits(rig)).keys() == {upload_id(3)}
    assert (await take(state, an_upload(3))).is_settled


@pytest.mark.parametrize("commits", [False, True])
async def test_what_checkpoints_leave_in_sets_is_put_right_when_the_lease_is_let_go(
    rig: ServerRig, commits: bool
) -> None:
    """Their expiry is right all the time; the time of the last change, once it counts."""
    state = await rig.open()
    for step, expires_at in enumerate((None, 70.0, 80.0, None, 90.0), 1):
        upload = an_upload(step, expires_at=50.0)
        lease = await create_held(state, upload)
        later = replace(upload, offset=step, changed_at=9.0 + step, expires_at=expires_at)
        await state.commit(lease, later, release=False)
        await check_fits(rig)
        if commits:
            await state.commit(lease, later, release=True)
        else:
            await state.release(lease)
        await check_fits(rig)


async def test_sets_and_counts_fit_the_records_through_all_that_happens(rig: ServerRig) -> None:
    """Through random lives of uploads, and deaths of their holders."""
    state, other = await rig.open(), await rig.open(Boot("host-b", "boot-7"))
    dice = random.Random(7)
    statuses = list(Status)
    for number in range(1, 25):
        await state.create(an_upload(number), [], with_lease=dice.random() < 0.5)
    for step in range(200):
        number, by = dice.randrange(1, 25), dice.choice([state, other])
        if dice.random() < 0.1:
            rig.clock.advance(dice.choice([1.0, LEASE_SECONDS]))
        try:
            got = await take(by, an_upload(number), dice.choice([Purpose.SWEEP, Purpose.TERMINATE]))
        except LeaseBusy:
            continue
        changed = an_upload(
            number,
            status=dice.choice(statuses),
            writer=dice.choice([BOOT, by.boot]),
            changed_at=float(step),
            expires_at=dice.choice([None, float(step + 9)]),
            finished_at=dice.choice([None, float(step + 5)]),
            is_interrupted=dice.random() < 0.3,
        )
        ends = dice.random()
        if ends < 0.1:
            await by.remove(got.lease)
            await by.create(an_upload(number), [], with_lease=False)
        elif ends < 0.3:
            await by.release(got.lease)
        else:
            await by.commit(got.lease, changed, release=dice.random() < 0.7)
        if step % 20 == 0:
            await check_fits(rig)
    assert len(await check_fits(rig)) == 24
