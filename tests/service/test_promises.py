"""Bodies that come with a digest: verified before they count, whatever dies [hold-back]."""

import asyncio
import base64
import hashlib
from pathlib import Path
from typing import Any

import pytest

from tests.service.test_deaths import (
    KINDS,
    at_every_death,
    dies,
    go_on_to_the_end,
    half_an_upload,
)
from tests.service.world import Body, ScriptedGate, World, a_world
from tusd_py.core.commands import Completion
from tusd_py.core.digests import Algorithm, Digest, Promise
from tusd_py.core.errors import (
    ChecksumMismatch,
    ClientGone,
    GateFailed,
    InvalidHeader,
    LengthConflict,
    UploadError,
    UploadHandedOver,
    UploadLocked,
    UploadUnknown,
    WholeDigestMismatch,
)
from tusd_py.core.events import EventKind
from tusd_py.core.ids import UploadId
from tusd_py.core.reconcile import Durability
from tusd_py.core.upload import Status, Upload
from tusd_py.state.base import Due, Filter
from tusd_py.streams import SourceEnd

pytestmark = pytest.mark.usefixtures("each_state")

CONTENT = b"0123456789"


def sha256(data: bytes) -> Digest:
    return Digest(Algorithm.SHA256, hashlib.sha256(data).digest())


def of(data: bytes) -> Promise:
    return Promise(digests=(sha256(data),))


@pytest.mark.parametrize("late", [False, True], ids=["in the head", "in the trailer"])
async def test_a_wrong_body_leaves_no_trace(tmp_path: Path, late: bool) -> None:
    """The offset stays, not a byte lies in the file or beside it, and the right one is taken."""
    wrong = (sha256(b"other"),)
    promise = Promise(trailer=lambda: wrong) if late else Promise(digests=wrong)
    async with a_world(tmp_path) as world:
        upload_id = await half_an_upload(world)
        with pytest.raises(ChecksumMismatch):
            await world.append(upload_id, 4, CONTENT[4:], promise=promise)
        assert world.content(upload_id) == CONTENT[:4]
        assert (await world.head(upload_id)).offset == 4
        assert world.files_of(upload_id) == [f"{upload_id}.bin", f"{upload_id}.facts"]
        done = await world.append(upload_id, 4, CONTENT[4:], promise=of(CONTENT[4:]))
        assert done.is_complete and world.content(upload_id) == CONTENT


async def test_a_trailer_that_says_nothing_promises_nothing(tmp_path: Path) -> None:
    """It was announced and left away: the bytes count like any others."""
    async with a_world(tmp_path) as world:
        upload_id = await half_an_upload(world)
        done = await world.append(upload_id, 4, CONTENT[4:], promise=Promise(trailer=lambda: ()))
        assert done.is_complete


async def test_a_trailer_that_cannot_be_read_keeps_nothing(tmp_path: Path) -> None:
    """Its refusal is told, and no byte counts."""

    def trailer() -> tuple[Digest, ...]:
        raise InvalidHeader("Upload-Checksum", "well written")

    async with a_world(tmp_path) as world:
        upload_id = await half_an_upload(world)
        with pytest.raises(InvalidHeader):
            await world.append(upload_id, 4, CONTENT[4:], promise=Promise(trailer=trailer))
        assert (await world.head(upload_id)).offset == 4


async def test_a_cut_body_under_a_digest_keeps_nothing(tmp_path: Path) -> None:
    """The one exception to "everything received is kept"."""
    async with a_world(tmp_path) as world:
        upload_id = await half_an_upload(world)
        cut = Body(CONTENT[4:7], end=SourceEnd.HUNG_UP)
        with pytest.raises(ClientGone):
            await world.append(upload_id, 4, cut, promise=of(CONTENT[4:]))
        assert (await world.head(upload_id)).offset == 4
        assert world.content(upload_id) == CONTENT[:4]


@pytest.mark.parametrize("options", KINDS)
@pytest.mark.parametrize("is_right", [True, False])
async def test_unverified_bytes_never_count_whatever_dies(
    tmp_path: Path, options: dict[str, Any], is_right: bool
) -> None:
    """hold-back: after any death the file has the old bytes, or verified ones, never others."""
    body = CONTENT[4:] if is_right else b"unseen"

    async def act(world: World, upload_id: UploadId) -> None:
        try:
            await world.append(upload_id, 4, body, promise=of(CONTENT[4:]))
        except ChecksumMismatch:
            assert not is_right

    async def check(world: World, upload_id: UploadId) -> None:
        if world.destination is None:
            assert CONTENT.startswith(world.content(upload_id))
        await go_on_to_the_end(world, upload_id, at_least=4)

    await at_every_death(tmp_path, options, half_an_upload, act, check)


@pytest.mark.parametrize("body", [b"other", CONTENT + b"!"])
async def test_a_creation_whose_first_bytes_are_wrong_leaves_nothing(
    tmp_path: Path, body: bytes
) -> None:
    """It is refused as a whole: its client knows no address."""
    async with a_world(tmp_path) as world:
        with pytest.raises(UploadError):
            await world.create(10, Body(body, announced=False), promise=of(CONTENT))
        assert await world.state.page(Filter(), after=None, limit=9) == []
        assert (await world.create(10, CONTENT, promise=of(CONTENT))).is_complete


# ------------------------------------------------------------------ the whole file


@pytest.mark.parametrize("options", KINDS)
async def test_a_whole_that_is_not_what_was_announced_is_rejected(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    """The last request is told, hooks are told, HEAD knows it no more, and no place has it."""
    async with a_world(tmp_path, **{k: v for k, v in options.items() if k != "gate"}) as world:
        upload = await world.create(10, CONTENT[:4], promised_digests=(sha256(b"other"),))
        with pytest.raises(WholeDigestMismatch):
            await world.append(upload.id, 4, CONTENT[4:])
        with pytest.raises(UploadUnknown):
            await world.head(upload.id)
        await world.deliver()
        assert world.told(EventKind.REJECTED, upload.id)
        assert not world.told(EventKind.COMPLETED, upload.id)
        assert not [p for p in (world.folder / "library").rglob("*") if p.is_file()]


@pytest.mark.parametrize("options", [one for one in KINDS if "gate" not in one.values[0]])  # type: ignore[operator]
async def test_the_whole_is_verified_also_by_who_takes_over(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    """Whatever died: complete is only what hashes to what its creation said, and the record
    knows that it was verified."""
    right = sha256(CONTENT)

    async def prepare(world: World) -> UploadId:
        upload = await world.create(10, CONTENT[:4], promised_digests=(right,))
        return upload.id

    async def act(world: World, upload_id: UploadId) -> None:
        await world.append(upload_id, 4, CONTENT[4:])

    async def check(world: World, upload_id: UploadId) -> None:
        await go_on_to_the_end(world, upload_id, at_least=4)

    await at_every_death(tmp_path, options, prepare, act, check)


async def test_wanted_digests_are_told_with_the_end(tmp_path: Path) -> None:
    """Whoever completes the upload may ask what the whole hashes to."""
    async with a_world(tmp_path) as world:
        upload = await world.create(10, CONTENT[:4])
        done = await world.append(
            upload.id, 4, CONTENT[4:], wanted_digests=(Algorithm.SHA512, Algorithm.SHA256)
        )
        text = base64.b64encode(hashlib.sha256(CONTENT).digest()).decode()
        assert dict(done.digests)["sha256"] == text
        assert (await world.head(upload.id)).digests == done.digests


async def test_a_gate_that_is_away_makes_nobody_read_the_whole_again(tmp_path: Path) -> None:
    """A large file is hashed once, however often the gate is asked anew, in a new life too."""
    gate = ScriptedGate()
    async with a_world(tmp_path, gate=gate) as world:
        upload = await world.create(10, CONTENT[:4], promised_digests=(sha256(CONTENT),))
        gate.answers = [RuntimeError("away")] * 3
        with pytest.raises(GateFailed):
            await world.append(upload.id, 4, CONTENT[4:])
        assert world.fate.calls.count("digest") == 1
        await world.restart()
        with pytest.raises(GateFailed):
            await world.head(upload.id)
        await world.sweeper.judge(upload.id)
        done = await world.head(upload.id)
        assert done.is_complete and done.digests == upload.promised_digests
        assert world.fate.calls.count("digest") == 0


async def test_a_verified_whole_that_lost_bytes_is_verified_anew(tmp_path: Path) -> None:
    """What was verified before the power went were other bytes."""
    gate = ScriptedGate()
    options: dict[str, Any] = {"gate": gate, "durability": Durability.PROCESS}
    async with a_world(tmp_path, **options) as world:
        upload = await world.create(10, CONTENT[:4], promised_digests=(sha256(CONTENT),))
        gate.answers = [RuntimeError("away")]
        with pytest.raises(GateFailed):
            await world.append(upload.id, 4, CONTENT[4:])
        await world.lose_power(synced={})
        offset = (await world.head(upload.id)).offset
        assert offset == 0
        with pytest.raises(WholeDigestMismatch):
            await world.append(upload.id, 0, b"x" * 10)


async def test_a_mark_that_outlived_its_commit_says_what_was_verified(tmp_path: Path) -> None:
    """The process died between the two; the digests of the whole are told all the same."""
    async with a_world(tmp_path) as world:
        upload = await world.create(10, CONTENT[:4], promised_digests=(sha256(CONTENT),))
        world.fate.calls.clear()
        world.fate.die_after = "complete"
        assert await dies(world.append(upload.id, 4, CONTENT[4:]))
        await world.restart()
        seen = await world.head(upload.id)
        assert seen.is_complete and seen.digests == upload.promised_digests


async def test_a_head_that_finds_another_whole_knows_no_upload(tmp_path: Path) -> None:
    """All bytes came, the process died before they were hashed: who asks learns that it is gone,
    not of a digest, which HEAD has no status for."""
    async with a_world(tmp_path) as world:
        upload = await world.create(10, CONTENT[:4], promised_digests=(sha256(b"other"),))
        world.fate.die_before = "digest"
        assert await dies(world.append(upload.id, 4, CONTENT[4:]))
        await world.restart()
        with pytest.raises(UploadUnknown):
            await world.head(upload.id)
        record = await world.state.find(upload.id)
        assert record is not None and record.status is Status.REJECTED


async def test_a_head_tells_nothing_while_the_whole_is_hashed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Undecided in the bounded time: locked; what comes of it is told later, by an event too."""
    async with a_world(tmp_path) as world:
        upload = await world.create(10, CONTENT[:4], promised_digests=(sha256(b"other"),))
        world.fate.die_before = "digest"
        assert await dies(world.append(upload.id, 4, CONTENT[4:]))
        await world.restart()
        go_on, real = asyncio.Event(), world.store.digest

        async def digest(*arguments: Any, **more: Any) -> Any:
            await go_on.wait()
            return await real(*arguments, **more)

        monkeypatch.setattr(world.store, "digest", digest)
        with pytest.raises(UploadLocked):
            await world.head(upload.id)
        go_on.set()
        await world.uploads.drain()
        with pytest.raises(UploadUnknown):
            await world.head(upload.id)
        [rejected] = [e for e in await world.deliver() if e.kind is EventKind.REJECTED]
        assert rejected.data["refusal"] == str(WholeDigestMismatch())


# ------------------------------------------------------------------ completion is a state


async def test_the_length_alone_completes_nothing_where_the_client_has_to_say_so(
    tmp_path: Path,
) -> None:
    """LATER leaves a full upload as it is, also for the sweeper and for a HEAD that is told so; a
    HEAD of a protocol in which the length completes does it."""
    async with a_world(tmp_path) as world:
        made = await world.create(
            10, CONTENT, completion=Completion.LATER, protocol="rufh", is_strict=True
        )
        assert (made.status, made.offset) == (Status.RECEIVING, 10)
        await world.sweeper.judge(made.id)
        for completion in (Completion.LATER, None):
            seen = await world.head(made.id, completion=completion)
            assert (seen.status, seen.offset) == (Status.RECEIVING, 10)
        assert (await world.head(made.id)).is_complete


async def test_the_end_of_the_last_body_is_the_length(tmp_path: Path) -> None:
    """NOW completes an upload whose length nobody said, and after a death no other one."""
    async with a_world(tmp_path) as world:
        made = await world.create(None, CONTENT[:4], completion=Completion.LATER, protocol="rufh")
        done = await world.append(
            made.id, 4, Body(CONTENT[4:], announced=False), completion=Completion.NOW
        )
        assert (done.status, done.length) == (Status.COMPLETE, 10)
        cut = await world.create(None, CONTENT[:4], completion=Completion.LATER, protocol="rufh")
        with pytest.raises(ClientGone):
            await world.append(
                cut.id,
                4,
                Body(CONTENT[4:], announced=False, end=SourceEnd.HUNG_UP),
                completion=Completion.NOW,
            )
        seen = await world.head(cut.id, completion=Completion.LATER)
        assert (seen.status, seen.offset, seen.length) == (Status.RECEIVING, 10, None)


async def test_a_strict_upload_ends_where_a_body_contradicts_its_length(tmp_path: Path) -> None:
    """RUFH-LEN-05: bytes past the length make it invalid, whether announced or not."""
    for announced in (True, False):
        async with a_world(tmp_path / str(announced)) as world:
            made = await world.create(10, CONTENT[:4], protocol="rufh", is_strict=True)
            with pytest.raises(UploadError, match="room"):
                body = Body(CONTENT[4:] + b"!", announced=announced)
                await world.append(made.id, 4, body, is_strict=True, completion=Completion.LATER)
            with pytest.raises(UploadUnknown):
                await world.head(made.id)


async def test_what_a_strict_upload_was_told_outlives_the_loss_of_power(tmp_path: Path) -> None:
    """RUFH-OFF-01: each answer's bytes are synced before it, so that no restart of the machine
    takes an offset back, and the upload stays valid."""
    async with a_world(tmp_path) as world:
        made = await world.create(
            10, CONTENT[:4], completion=Completion.LATER, protocol="rufh", is_strict=True
        )
        record = await world.state.find(made.id)
        assert record is not None and record.synced_offset == 4
        await world.lose_power(synced={made.id: 4})
        seen = await world.head(made.id, completion=Completion.LATER)
        assert (seen.status, seen.offset) == (Status.RECEIVING, 4)


async def test_what_a_kill_left_of_a_strict_upload_is_synced_before_it_is_told(
    tmp_path: Path,
) -> None:
    """RUFH-OFF-01: a death in mid-body, a question, then the power goes: it is still valid."""
    async with a_world(tmp_path) as world:
        made = await world.create(
            10, CONTENT[:4], completion=Completion.LATER, protocol="rufh", is_strict=True
        )
        world.fate.die_after = "append"
        body = Body(CONTENT[4:6], end=SourceEnd.HUNG_UP, announced=False)
        assert await dies(world.append(made.id, 4, body, is_strict=True))
        await world.restart()
        told = await world.head(made.id, completion=Completion.LATER)
        assert told.offset == 6
        record = await world.state.find(made.id)
        assert record is not None and world.fate.calls.count("sync") == 1
        await world.lose_power(synced={made.id: record.synced_offset})
        seen = await world.head(made.id, completion=Completion.LATER)
        assert (seen.status, seen.offset) == (Status.RECEIVING, 6)


async def test_an_upload_that_a_strict_protocol_touched_stays_strict(tmp_path: Path) -> None:
    """RUFH-OFF-02, whoever made it: where told bytes are lost later, nothing goes on."""
    async with a_world(tmp_path, durability=Durability.PROCESS) as world:
        upload_id = await half_an_upload(world)
        await world.append(upload_id, 4, CONTENT[4:6], completion=Completion.LATER, is_strict=True)
        assert (await world.append(upload_id, 6, CONTENT[6:8])).is_strict
        await world.lose_power(synced={})
        with pytest.raises(UploadUnknown):
            await world.head(upload_id)
        record = await world.state.find(upload_id)
        assert record is not None and record.status is Status.INVALID


async def test_a_whole_in_one_request_that_is_undecided_leaves_nothing(tmp_path: Path) -> None:
    """NOW: its client knows no address and sends it anew; kept, it would be told of twice."""
    gate = ScriptedGate()
    async with a_world(tmp_path, gate=gate) as world:
        gate.answers = [RuntimeError("away")]
        with pytest.raises(GateFailed):
            await world.create(10, CONTENT, completion=Completion.NOW, protocol="rufh")
        assert await world.state.page(Filter(), after=None, limit=9) == []
        assert (await world.create(10, CONTENT, completion=Completion.NOW)).is_complete
        await world.deliver()
        assert len([e for e in world.events if e.kind is EventKind.COMPLETED]) == 1


async def test_a_full_upload_whose_client_never_says_so_expires(tmp_path: Path) -> None:
    """LATER: nobody completes it for the client, and it does not stay for ever."""
    async with a_world(tmp_path) as world:
        made = await world.create(
            10, CONTENT, completion=Completion.LATER, protocol="rufh", is_strict=True
        )
        world.pass_time(3601)
        for due in Due:
            await world.sweeper.sweep(due)
        assert await world.state.find(made.id) is None
        await world.deliver()
        assert world.told(EventKind.EXPIRED, made.id)
        assert not world.told(EventKind.COMPLETED, made.id)


async def test_an_empty_patch_of_another_protocol_completes_what_is_full(tmp_path: Path) -> None:
    """tus has no other word for it than reaching the length."""
    async with a_world(tmp_path) as world:
        made = await world.create(
            10, CONTENT, completion=Completion.LATER, protocol="rufh", is_strict=True
        )
        assert (await world.append(made.id, 10, b"")).is_complete


@pytest.mark.parametrize("length", [None, 10])
async def test_a_last_body_that_is_cut_behind_its_last_byte_completes_nothing(
    tmp_path: Path, length: int | None
) -> None:
    """RUFH-CMP-04: all bytes came and the end of the chunked body did not."""
    async with a_world(tmp_path) as world:
        made = await world.create(
            length, CONTENT[:4], completion=Completion.LATER, protocol="rufh", is_strict=True
        )
        body = Body(CONTENT[4:], announced=False, end=SourceEnd.HUNG_UP)
        with pytest.raises(ClientGone):
            await world.append(made.id, 4, body, completion=Completion.NOW, is_strict=True)
        for due in Due:
            await world.sweeper.sweep(due)
        seen = await world.head(made.id, completion=Completion.LATER)
        assert (seen.status, seen.offset, seen.length) == (Status.RECEIVING, 10, length)


async def test_a_last_body_that_is_too_short_completes_nothing(tmp_path: Path) -> None:
    """RUFH-LEN-01, -02: what it says of its end contradicts the length; the bytes are kept."""
    async with a_world(tmp_path) as world:
        made = await world.create(
            10, CONTENT[:4], completion=Completion.LATER, protocol="rufh", is_strict=True
        )
        with pytest.raises(LengthConflict):
            body = Body(CONTENT[4:9], announced=False)
            await world.append(made.id, 4, body, completion=Completion.NOW, is_strict=True)
        seen = await world.head(made.id, completion=Completion.LATER)
        assert (seen.status, seen.offset) == (Status.RECEIVING, 9)


async def test_a_body_under_a_digest_that_lets_go_keeps_nothing(tmp_path: Path) -> None:
    """A newcomer gets the upload at once, as it was before; the promise is told as handed over."""
    async with a_world(tmp_path) as world:
        upload_id = await half_an_upload(world)
        body = Body(CONTENT[4:6], CONTENT[6:], hold_before=1)
        patch = asyncio.create_task(world.append(upload_id, 4, body, promise=of(CONTENT[4:])))
        await body.reached_hold.wait()
        assert (await world.head(upload_id)).offset == 4
        with pytest.raises(UploadHandedOver):
            await patch
        assert world.files_of(upload_id) == [f"{upload_id}.bin", f"{upload_id}.facts"]
        await go_on_to_the_end(world, upload_id, at_least=4)


class Told:
    """A listener that remembers."""

    def __init__(self, knows: bool) -> None:
        self.knows = knows
        self.made: list[Upload] = []
        self.offsets: list[int] = []

    def created(self, upload: Upload) -> bool:
        self.made.append(upload)
        return self.knows

    def advanced(self, upload: Upload) -> None:
        self.offsets.append(upload.offset)


@pytest.mark.parametrize("knows", [True, False])
async def test_a_creation_that_is_cut_stays_where_its_address_was_told(
    tmp_path: Path, knows: bool
) -> None:
    """RUFH-CRE-11: with a 104 the client can go on; without one nobody knows the upload."""
    async with a_world(tmp_path) as world:
        told = Told(knows)
        with pytest.raises(ClientGone):
            await world.create(
                10, Body(CONTENT[:4], end=SourceEnd.HUNG_UP, announced=False), listener=told
            )
        [made] = told.made
        if knows:
            assert (await world.head(made.id)).offset == 4
        else:
            with pytest.raises(UploadUnknown):
                await world.head(made.id)


async def test_only_committed_offsets_are_told(tmp_path: Path) -> None:
    """RUFH-OFF-04: what a listener hears of a running body has been committed before."""
    async with a_world(tmp_path) as world:
        told = Told(True)
        made = await world.create(10)
        body = Body(CONTENT[:4], CONTENT[4:], hold_before=1)

        running = asyncio.create_task(world.append(made.id, 0, body, listener=told))
        await body.reached_hold.wait()
        async with asyncio.timeout(10):
            while not told.offsets or told.offsets[-1] < 4:
                world.fate.called.clear()
                await world.fate.called.wait()
        record = await world.state.find(made.id)
        assert record is not None and record.offset >= told.offsets[-1]
        body.go_on.set()
        assert (await running).is_complete
