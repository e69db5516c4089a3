"""Rigs of the records in Redis whose way there is out of the ordinary, and a look at all they
keep: whether it fits together."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from hashlib import sha1
from typing import Any, Final

from tests.contract.redis_states import PREFIX, SHARED, KeyClockLink, KeyClockState, ServerRig
from tests.support.redis_engines import Engine
from tests.support.redis_servers import eventually
from tusd_py.core.ids import UploadId
from tusd_py.core.upload import UNFINISHED, Kind, Status, Upload
from tusd_py.state.base import StateError, StateStore
from tusd_py.state.redis.codec import id_bytes, owner_digest, record_from
from tusd_py.state.redis.link import Arg, Link
from tusd_py.state.redis.scripts import Script
from tusd_py.state.redis.store import RedisState

OF_RECORDS: Final = frozenset(
    {"take", "create", "adopt", "commit", "release", "remove", "reserve", "unreserve", "look_once"}
)


SETS: Final = frozenset(
    {
        "client",
        "video",
        "status",
        "held",
        "expires",
        "undecided",
        "joining",
        "terminating",
        "retired",
        "refused",
    }
)


class TwiceLink(KeyClockLink):
    """Every call arrives twice, as where a connection was cut before the first answer."""

    async def call(self, script: Script, bucket: int, *args: Arg, **how: Any) -> Any:
        reply = await super().call(script, bucket, *args, **how)
        if script.name not in OF_RECORDS:
            return reply
        return await super().call(script, bucket, *args, **how)


class TwiceState(KeyClockState):
    link_type = TwiceLink


class HeldLink(KeyClockLink):
    """Calls pass as a test lets them."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.gate: Callable[[Script], asyncio.Future[None] | None] = lambda _: None
        """What a call waits for before it is sent."""
        self.sent: list[tuple[Script, int, tuple[Arg, ...]]] = []
        """Calls about records, as they were sent."""
        self.loses_answers = False
        self.under_way = 0
        self.idle = asyncio.Event()
        """Set while no call about records is under way."""
        self.idle.set()

    async def call(self, script: Script, bucket: int, *args: Arg, **how: Any) -> Any:
        if script.name not in OF_RECORDS:
            return await super().call(script, bucket, *args, **how)
        if (turn := self.gate(script)) is not None:
            await turn
        self.sent.append((script, bucket, args))
        self.under_way += 1
        self.idle.clear()
        try:
            reply = await super().call(script, bucket, *args, **how)
        finally:
            self.under_way -= 1
            if not self.under_way:
                self.idle.set()
        if self.loses_answers:
            raise StateError("the answer was lost")
        return reply

    async def send_again(self, number: int) -> Any:
        """That call arrives once more, late."""
        script, bucket, args = self.sent[number]
        return await KeyClockLink.call(self, script, bucket, *args)


@contextmanager
def lost_answers(link: HeldLink) -> Iterator[None]:
    """Meanwhile calls about records are done, and nobody hears of it."""
    link.loses_answers = True
    try:
        yield
    finally:
        link.loses_answers = False


class HeldState(KeyClockState):
    link_type = HeldLink


@asynccontextmanager
async def make_rig(
    state_type: type[RedisState] = KeyClockState, *, engine: Engine = "7", buckets: int = 16
) -> AsyncIterator[ServerRig]:
    """Instances of that type on one server, whose time is read from a key."""
    rig = ServerRig(await SHARED.server(engine), buckets=buckets)
    rig.state_type = state_type
    rig.show_time()
    try:
        yield rig
    finally:
        await rig.close()


def link_of(state: StateStore) -> HeldLink:
    assert isinstance(state, HeldState)
    link: Link = state._link
    assert isinstance(link, HeldLink)
    return link


async def check_fits(rig: ServerRig) -> dict[UploadId, Upload]:
    """Every set and count says what the records say, reckoned here anew; the records."""
    kept = await _everything(rig)
    wanted: dict[str, dict[bytes, float | None]] = defaultdict(dict)
    counts: dict[str, Counter[bytes]] = defaultdict(Counter)
    found: dict[UploadId, Upload] = {}
    for (base, name), value in kept.items():
        if name.startswith("u:"):
            upload_id = UploadId(name[2:])
            flat = [each for pair in value.items() for each in pair]
            upload = record_from(upload_id, [kept[base, f"f:{upload_id}"], *flat])
            found[upload_id] = upload
            counts[base][value[b"s"]] += 1
            for place, member, score in _places(upload, value):
                wanted[f"{base}:{place}"][member] = score
    for (base, name), value in kept.items():
        if name in SETS or name.partition(":")[0] in ("open", "still"):
            scores = wanted.pop(f"{base}:{name}", {})
            assert value == {m: value.get(m) if s is None else s for m, s in scores.items()}, name
        elif name == "counts":
            assert {s: int(n) for s, n in value.items() if int(n)} == counts[base]
        elif name == "waiting":
            assert {UploadId(i.decode()) for i in value} <= found.keys()
        elif name.startswith("f:"):
            assert name[2:] in found
    assert not wanted, "sets that are missing"
    return found


async def _everything(rig: ServerRig) -> dict[tuple[str, str], Any]:
    """By bucket and name."""
    async with rig.server.client() as client:
        keys = [str(key, "ascii") for key in await rig.server.call("KEYS", f"{PREFIX}:*")]
        types = client.pipeline(transaction=False)
        for key in keys:
            _ = types.type(key)
        values = client.pipeline(transaction=False)
        for key, form in zip(keys, await types.execute(), strict=True):
            match form:
                case b"hash":
                    _ = values.hgetall(key)
                case b"zset":
                    _ = values.zrange(key, 0, -1, withscores=True)
                case _:
                    _ = values.get(key)
        read = await values.execute()
    kept = {}
    for key, value in zip(keys, read, strict=True):
        base, _, name = key.partition("}:")
        is_set = isinstance(value, list)
        kept[base, name] = {bytes(m): float(s) for m, s in value} if is_set else value
    return kept


def _places(upload: Upload, fields: dict[bytes, bytes]) -> list[tuple[str, bytes, float | None]]:
    """Set, member and score; None: one of the lease that is held decides nothing."""
    is_held = b"H" in fields
    member, digest = id_bytes(upload.id), owner_digest(upload.owner)
    places: list[tuple[str, bytes, float | None]] = [
        ("client", digest[8:] + digest[:8] + member, 0.0),
        ("video", digest[:8] + member, 0.0),
        ("status", fields[b"s"] + member, 0.0),
    ]
    if upload.status in UNFINISHED:
        text = f"{upload.master}\n{upload.writer.host}\n{upload.writer.boot_id}"
        writer = sha1(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        is_open = upload.status is Status.RECEIVING and not upload.is_interrupted
        at = None if is_held else upload.changed_at
        places.append((f"{'open' if is_open else 'still'}:{writer}", member, at))
        if b"U" in fields:
            places.append(("held", member, None if is_held else 0.0))
    if upload.expires_at is not None and upload.can_expire:
        places.append(("expires", member, upload.expires_at))
    by_status = {
        Status.RECEIVED: "undecided",
        Status.JOINING: "joining",
        Status.TERMINATING: "terminating",
        Status.REJECTED: "refused",
        Status.INVALID: "refused",
    }
    if name := by_status.get(upload.status):
        places.append((name, member, None if is_held else upload.changed_at))
    if upload.is_complete and upload.kind is not Kind.PARTIAL:
        at = upload.changed_at if upload.finished_at is None else upload.finished_at
        places.append(("retired", member, None if is_held else at))
    return places


async def until_it_works(state: StateStore, *, seconds: float) -> None:
    """After Redis was away, or failed over."""

    async def does_work() -> bool:
        try:
            await state.ping()
        except StateError:
            return False
        return True

    await eventually(does_work, "the store does not come back", seconds=seconds)
