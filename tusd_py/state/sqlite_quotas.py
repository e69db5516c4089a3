"""Quotas in the state file: what its clients take, over all processes of the host.

A call is one operation of a group, like any commit. Rows that say nothing any more are removed by
the calls that come after them, a few at a time.
"""

import hashlib
import sqlite3
from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Final

from tusd_py.core.ids import HolderId
from tusd_py.core.rates import MICRO, Rate, Turn, give_turn
from tusd_py.core.upload import Boot
from tusd_py.state.quotas import Quotas
from tusd_py.state.sqlite_uploads import Workshop

TIDIED: Final = 2
"""Rows that one call removes at most: more than it makes, so that they never pile up."""

_PAID: Final = "SELECT paid_until FROM rate WHERE key = ? AND boot = ?"
_PAY: Final = "REPLACE INTO rate (key, boot, paid_until) VALUES (?, ?, ?)"
_TIDY_RATES: Final = """DELETE FROM rate WHERE key IN
    (SELECT key FROM rate WHERE paid_until <= ? LIMIT ?)"""
_FORGET_BOOTS: Final = "DELETE FROM rate WHERE boot <> ?"
_PLACES: Final = "SELECT body, process, deadline FROM place WHERE key = ?"
_KEEP: Final = "REPLACE INTO place (key, body, process, deadline) VALUES (?, ?, ?, ?)"
_LEAVE: Final = "DELETE FROM place WHERE key = ? AND body = ?"
_TIDY_PLACES: Final = """DELETE FROM place WHERE (key, body) IN
    (SELECT key, body FROM place WHERE deadline <= ? LIMIT ?)"""


class SqliteQuotas(Quotas):
    """The contract of quotas, on a workshop."""

    _boot: Boot
    _clock: Callable[[], float]

    @property
    @abstractmethod
    def _shop(self) -> Workshop:
        """Raises StateError where the store is not open."""

    async def admit(self, key: str, rate: Rate, *, patience_seconds: float = 0.0) -> Turn:
        return await self._shop.writer.run(
            partial(
                _admit,
                key=_digest(key),
                boot=self._boot.boot_id,
                rate=rate,
                patience_us=int(patience_seconds * MICRO),
                clock=self._clock,
            )
        )

    async def enter(self, key: str, body: HolderId, *, limit: int, seconds: float) -> bool:
        peers = self._shop.peers
        now = self._clock()
        return await self._shop.writer.run(
            partial(
                _enter,
                key=_digest(key),
                place=(body, peers.name, now + seconds),
                limit=limit,
                now=now,
                is_alive=peers.is_alive,
            )
        )

    async def leave(self, key: str, body: HolderId) -> None:
        await self._shop.writer.run(partial(_leave, key=_digest(key), body=body))


def forget_earlier_boots(db: sqlite3.Connection, boot: Boot) -> None:
    """At each start of a process: the clock that numbers of other boots are by is not ours."""
    db.execute(_FORGET_BOOTS, (boot.boot_id,))


def _admit(
    db: sqlite3.Connection,
    *,
    key: bytes,
    boot: str,
    rate: Rate,
    patience_us: int,
    clock: Callable[[], float],
) -> Turn:
    # Asked here, in the order of the turns: who was long in the queue must not seem early.
    now = int(clock() * MICRO)
    row = db.execute(_PAID, (key, boot)).fetchone()
    known = row[0] if row else None
    turn, paid_until = give_turn(known, now, rate, patience_us=patience_us)
    if paid_until != known:
        db.execute(_TIDY_RATES, (now, TIDIED))
        db.execute(_PAY, (key, boot, paid_until))
    return turn


def _enter(
    db: sqlite3.Connection,
    *,
    key: bytes,
    place: tuple[str, str, float],
    limit: int,
    now: float,
    is_alive: Callable[[str], bool],
) -> bool:
    body, _, _ = place
    held = db.execute(_PLACES, (key,)).fetchall()
    has_one = any(
        each == body and deadline > now and is_alive(process) for each, process, deadline in held
    )
    if not has_one and len(held) >= limit:
        for each, process, deadline in held:
            if deadline <= now or not is_alive(process):
                db.execute(_LEAVE, (key, each))
        if db.execute("SELECT count(*) FROM place WHERE key = ?", (key,)).fetchone()[0] >= limit:
            return False
    db.execute(_TIDY_PLACES, (now, TIDIED))
    db.execute(_KEEP, (key, *place))
    return True


def _leave(db: sqlite3.Connection, *, key: bytes, body: str) -> None:
    db.execute(_LEAVE, (key, body))


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()[:16]
