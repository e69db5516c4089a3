"""Whether the process lives, and whether it should be given work."""

import json
import logging
from typing import Final

from tusd_py.core.errors import MethodNotAllowed
from tusd_py.protocol import headers as h
from tusd_py.protocol.answers import Answer
from tusd_py.web.exchange import Exchange, Readiness

log = logging.getLogger(__name__)

METHODS: Final = ("GET", "HEAD", "OPTIONS")
_HEADERS: Final = ((h.CONTENT_TYPE, h.JSON), (h.CACHE_CONTROL, "no-store"))
_OPTIONS: Final = Answer(204, ((h.ALLOW, ", ".join(METHODS)),))


def options_or_refusal(method: str) -> Answer | None:
    """For pages that can only be read: the answer to OPTIONS; None for what reads."""
    if method == "OPTIONS":
        return _OPTIONS
    if method not in METHODS:
        raise MethodNotAllowed(METHODS)
    return None


class Live:
    """200 as long as the event loop turns."""

    name = "health_live"

    async def answer(self, exchange: Exchange) -> Answer:
        return options_or_refusal(exchange.method) or Answer(200, _HEADERS, b'{"status":"live"}\n')

    async def unsent(self, exchange: Exchange, answer: Answer) -> None:
        """Nobody misses it."""


class Ready:
    """200 while every check is well and the server is not stopping, else 503."""

    name = "health_ready"

    def __init__(self, checks: Readiness) -> None:
        self._checks = checks
        self.is_stopping = False

    async def answer(self, exchange: Exchange) -> Answer:
        if answer := options_or_refusal(exchange.method):
            return answer
        try:
            found = dict(await self._checks())
        except Exception:
            log.exception("readiness_failed")
            found = {"checks": False}
        if self.is_stopping:
            found["stopping"] = False
        is_ready = all(found.values())
        text = json.dumps({"status": "ready" if is_ready else "not ready", "checks": found})
        return Answer(200 if is_ready else 503, _HEADERS, text.encode() + b"\n")

    async def unsent(self, exchange: Exchange, answer: Answer) -> None:
        """Nobody misses it."""
