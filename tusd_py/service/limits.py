"""How many uploads one client may create in a time, over all servers that share the state.

It is asked before anything of the upload exists. A client's creations get their turns at a rate, in
the order they came, and one whose turn is near is held back until then: a refusal costs more. 429
ends an upload of tus-js-client for good, and each 503 uses up one of its few tries.
"""

import asyncio
import logging
from contextlib import suppress
from typing import Final

from tusd_py.core.errors import CreationDelayed, ServerStopping, TooManyRequests, UploadError
from tusd_py.core.ids import ClientId
from tusd_py.core.rates import Turn
from tusd_py.core.upload import Kind
from tusd_py.service.parts import Parts

log = logging.getLogger(__name__)

MAX_HELD: Final = 1000
"""Creations that one process holds back at once; more are told at once to come again."""
KEY: Final = "creations:"
"""Goes before the client's name: what is counted."""


class Creations:
    """Gives creations their turns. Without the limit it asks nobody."""

    def __init__(self, parts: Parts) -> None:
        self._quotas = parts.need_quotas if parts.limits.creations is not None else None
        self._rate = parts.limits.rate
        self._settings = parts.limits
        self._observer = parts.observer
        self._stopping = asyncio.Event()
        self._held = 0

    def stop(self) -> None:
        """Who is held back is held back no longer: another server, or the next one, goes on."""
        self._stopping.set()

    async def admit(self, client_id: ClientId, kind: Kind) -> float:
        """Wait for the client's turn; the seconds that took. Raises TooManyRequests,
        CreationDelayed, ServerStopping, StateError. One round trip, also for those who wait."""
        if self._quotas is None or self._rate is None:
            return 0.0
        # All bytes of a final upload have come: to end it now would be to throw them away.
        is_slow = self._settings.answer == "slow" or kind is Kind.FINAL
        patience = self._settings.max_wait_seconds if is_slow else 0.0
        turn = await self._quotas.admit(KEY + client_id, self._rate, patience_seconds=patience)
        if turn.is_given and turn.wait_seconds <= 0:
            return 0.0
        outcome, error = self._judge(turn, is_slow=is_slow)
        self._observer.creation_limited(outcome)
        log.info(
            "creation_limited",
            extra={
                "client_id": client_id,
                "outcome": outcome,
                "wait_seconds": round(turn.wait_seconds, 3),
            },
        )
        if outcome != "refused":
            await self._hold(min(turn.wait_seconds, patience))
        if error is not None:
            raise error
        return turn.wait_seconds

    def _judge(self, turn: Turn, *, is_slow: bool) -> tuple[str, UploadError | None]:
        """What becomes of a creation that has no turn now, and what it is refused with in the end.

        One whose turn is too far off is held back all the same: it would come again at once, and
        have given up before its turn.
        """
        if turn.is_given and self._held < MAX_HELD:
            return "held", None
        if not is_slow:
            return "refused", TooManyRequests(turn.wait_seconds)
        if self._held >= MAX_HELD:
            return "refused", CreationDelayed(turn.wait_seconds)
        return "delayed", CreationDelayed(turn.wait_seconds - self._settings.max_wait_seconds)

    async def _hold(self, seconds: float) -> None:
        self._held += 1
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._stopping.wait()
                raise ServerStopping()
        finally:
            self._held -= 1
