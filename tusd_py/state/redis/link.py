"""Script calls: each goes to the server of its bucket and is answered within its time, or fails.

A call may run twice where a connection was lost before its answer: all scripts are idempotent. It
is repeated, while there is time, where a server has forgotten the script, where a bucket is new,
and where another server has the bucket now. All methods raise StateError only. A caller that is
cancelled disturbs nobody: its call may be done or not.
"""

import asyncio
import secrets
from collections.abc import Callable, Sequence
from hashlib import sha1
from typing import Any, ClassVar, Final

import hiredis
from redis.exceptions import ResponseError

from tusd_py.core.ids import UploadId
from tusd_py.core.upload import Boot
from tusd_py.state.base import StateError
from tusd_py.state.redis.connect import Wire
from tusd_py.state.redis.dispatch import Dispatch
from tusd_py.state.redis.faults import OnFault, is_new_bucket, judge
from tusd_py.state.redis.lane import Call
from tusd_py.state.redis.places import base_keys
from tusd_py.state.redis.scripts import SERVER_NOW_LUA, Composed, Script
from tusd_py.state.redis.settings import RedisSettings

Arg = str | bytes | int | float

LAYOUT: Final = 1
"""The version of keys and fields. Another one is refused."""
BUCKETS_PER_CALL: Final = 32
"""Where one server has them all: so many in one script run."""
MAX_OPENINGS: Final = 2
"""So often a bucket may be found new within one call: whoever removes it is no part of this."""

OPEN: Final = Script("open")
PING: Final = Script("ping")


class Link:
    """The way to Redis. Use it in the loop that opened it."""

    NOW_LUA: ClassVar[str] = SERVER_NOW_LUA
    """The clock of all scripts: a Lua expression in ms."""

    def __init__(
        self,
        settings: RedisSettings,
        *,
        boot: Boot,
        lease_seconds: float,
        on_fault: OnFault = lambda _: None,
        on_generation: Callable[[], None] = lambda: None,
    ) -> None:
        """``on_generation`` is called when a bucket is found to be of another generation than when
        it was opened before; for each bucket once."""
        self.buckets = settings.buckets
        self.prefix = settings.prefix
        self.hooks: tuple[str, ...] = ()
        """What ``register_hooks`` was given: a bucket that is found new gets them."""
        self._call_seconds = settings.call_seconds
        self._boot = boot
        self._lease_ms = round(lease_seconds * 1000)
        self._bases = base_keys(settings)
        self._composed: dict[Script, Composed] = {}
        self._on_generation = on_generation
        self._generations: dict[int, bytes] = {}
        self._dispatch = Dispatch(settings, on_fault=on_fault)

    @property
    def is_cluster(self) -> bool:
        return self._dispatch.is_cluster

    async def open(self) -> None:
        """Connect, and open all buckets. Raises StateError with a helpful sentence."""
        await self._dispatch.open()
        try:
            await self.open_buckets()
        except BaseException:
            await self._dispatch.close()
            raise

    async def close(self) -> None:
        """Calls that wait are refused."""
        await self._dispatch.close()

    async def ping(self) -> None:
        """Whether the masters take writes now, and keep what they have. Of a Cluster one master
        that does is enough: while another fails over, the rest is served."""
        one_each = {address: bucket for bucket, address in enumerate(self._dispatch.where[:-1])}
        if not one_each:
            raise StateError("the state store is not open")
        answers = await asyncio.gather(
            *(self.call(PING, bucket) for bucket in one_each.values()), return_exceptions=True
        )
        errors = [answer for answer in answers if isinstance(answer, BaseException)]
        for error in errors:
            if len(errors) == len(answers) or not isinstance(error, StateError):
                raise error
        for answer in answers:
            if isinstance(answer, bytes) and answer != b"noeviction":
                raise StateError(
                    "Redis drops data when its memory is full (maxmemory-policy "
                    f"{answer.decode('ascii', 'replace')}): set maxmemory-policy noeviction"
                )

    async def dial_listener(self) -> Wire:
        """A connection of one's own, for messages. Raises RedisError, OSError."""
        return await self._dispatch.dial_listener()

    # ------------------------------------------------------------------ buckets

    def bucket_of(self, upload_id: UploadId) -> int:
        """Ordering by id is ordering by bucket."""
        return int(upload_id[:2], 16) * self.buckets // 256

    def bucket_of_key(self, key: str) -> int:
        """For what has a name but no upload."""
        text = key.encode("utf-8", "surrogatepass")
        return self.bucket_of_digest(sha1(text, usedforsecurity=False).digest())

    def bucket_of_digest(self, digest: bytes) -> int:
        """As ``bucket_of_key``, of the key's SHA-1."""
        return digest[0] * self.buckets // 256

    async def open_buckets(self, buckets: Sequence[int] | None = None) -> None:
        """Make sure that they (None: all) are there, and that they know this host's boot."""
        wanted = range(self.buckets) if buckets is None else buckets
        await self._open(wanted, replace=False, deadline=self._deadline())

    async def register_hooks(self, names: Sequence[str]) -> None:
        """The hooks that events are meant for from now on, in all buckets."""
        self.hooks = tuple(names)
        await self._open(range(self.buckets), replace=True, deadline=self._deadline())

    async def _open(self, buckets: Sequence[int], *, replace: bool, deadline: float) -> None:
        boot = self._boot
        args = (LAYOUT, self.buckets, boot.host, boot.boot_id, "\n".join(self.hooks), int(replace))
        replies = await self._run(OPEN, buckets, args, deadline)
        for bucket, reply in zip(buckets, replies, strict=True):
            generation = self._plain(reply)[0]
            if self._generations.setdefault(bucket, generation) != generation:
                self._generations[bucket] = generation
                self._on_generation()

    # ------------------------------------------------------------------ calls

    async def call(
        self, script: Script, bucket: int, *args: Arg, within_seconds: float | None = None
    ) -> Any:
        """What the script replies for that bucket: bytes, int, list or None. ``within_seconds``:
        it must not be sent later, also where calls may take longer."""
        deadline = self._deadline()
        if within_seconds is not None:
            deadline = min(deadline, asyncio.get_running_loop().time() + within_seconds)
        keys = (self._bases[bucket],)
        replies = await self._submit(script, bucket, keys, args, deadline)
        for _ in range(MAX_OPENINGS):
            if not is_new_bucket(replies[0]):
                break
            await self._open((bucket,), replace=False, deadline=deadline)
            replies = await self._submit(script, bucket, keys, args, deadline)
        return self._plain(replies[0])

    async def call_meta(self, script: Script, *args: Arg) -> Any:
        """For what belongs to no bucket; there is no generation."""
        place = self.buckets
        keys = (self._bases[place],)
        replies = await self._submit(script, place, keys, args, self._deadline())
        return self._plain(replies[0])

    async def call_all(
        self, script: Script, *args: Arg, buckets: Sequence[int] | None = None
    ) -> list[Any]:
        """The replies of these buckets (None: all), in that order. Not one step: others may come
        in between. Where one fails all fail, and some of them may have been done."""
        deadline = self._deadline()
        wanted = range(self.buckets) if buckets is None else buckets
        replies = await self._run(script, wanted, args, deadline)
        for _ in range(MAX_OPENINGS):
            new = [at for at, reply in enumerate(replies) if is_new_bucket(reply)]
            if not new:
                break
            missing = [wanted[at] for at in new]
            await self._open(missing, replace=False, deadline=deadline)
            again = await self._run(script, missing, args, deadline)
            for at, reply in zip(new, again, strict=True):
                replies[at] = reply
        return [self._plain(reply) for reply in replies]

    async def call_each(
        self, script: Script, *args: Arg, buckets: Sequence[int] | None = None
    ) -> list[Any]:
        """As ``call_all``; but of a Cluster, a part of which is away, some of the replies are
        StateErrors: what lies elsewhere is served meanwhile. Raises where all of it is away."""
        if not self.is_cluster:
            return await self.call_all(script, *args, buckets=buckets)
        wanted = range(self.buckets) if buckets is None else buckets
        asked = (self.call(script, bucket, *args) for bucket in wanted)
        replies = await asyncio.gather(*asked, return_exceptions=True)
        errors = [reply for reply in replies if isinstance(reply, BaseException)]
        for error in errors:
            if len(errors) == len(replies) or not isinstance(error, StateError):
                raise error
        return replies

    async def _run(
        self, script: Script, buckets: Sequence[int], args: tuple[Arg, ...], deadline: float
    ) -> list[Any]:
        """The raw replies of all of them, errors of single buckets included."""
        size = 1 if self.is_cluster else BUCKETS_PER_CALL
        groups = [buckets[at : at + size] for at in range(0, len(buckets), size)]
        futures: list[asyncio.Future[list[Any]]] = []
        try:
            for group in groups:
                keys = tuple(self._bases[bucket] for bucket in group)
                futures.append(self._submit(script, group[0], keys, args, deadline))
            return [reply for future in futures for reply in await future]
        finally:
            for future in futures:
                future.cancel()

    def _submit(
        self,
        script: Script,
        place: int,
        keys: tuple[str, ...],
        args: tuple[Arg, ...],
        deadline: float,
    ) -> asyncio.Future[list[Any]]:
        composed = self._composed.get(script)
        if composed is None:
            composed = script.compose(prefix=self.prefix, now_lua=self.NOW_LUA)
            self._composed[script] = composed
        command: tuple[Any, ...] = ("EVALSHA", composed.sha, len(keys), *keys)
        # A fresh token for each: a new generation that begins here is named by it.
        command += (secrets.token_hex(8), self._lease_ms, *args)
        future: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        packed = hiredis.pack_command(command)
        return self._dispatch.submit(Call(place, composed, packed, future, deadline))

    def _plain(self, reply: Any) -> Any:
        if not isinstance(reply, ResponseError):
            return reply
        verdict = judge(reply, is_cluster=self.is_cluster)
        self._dispatch.tell(verdict, reply)
        raise verdict.to_error() from reply

    def _deadline(self) -> float:
        return asyncio.get_running_loop().time() + self._call_seconds
