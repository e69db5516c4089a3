"""Interim answers (1xx): what a client hears while its body is still on the way."""

import time
from collections.abc import Callable
from typing import Final

from tusd_py.core.upload import Upload
from tusd_py.protocol import headers as h
from tusd_py.protocol.base import Asked, Translator
from tusd_py.web.exchange import Exchange
from tusd_py.web.forwarded import is_forwarded
from tusd_py.web.settings import HttpSettings

MAX_PROGRESS: Final = 3
"""With 100 Continue and the address that makes five: the HTTP client of Go before 1.24, and with it
a proxy like Caddy, gives a request up at the sixth interim answer."""
FIRST_PAUSE_SECONDS: Final = 4.0
PAUSE_GROWTH: Final = 8
"""So few have to do for long bodies too."""


def allows_interim(settings: HttpSettings, fields: h.Fields) -> bool:
    """Nothing on the way to this client is known to break on interim answers."""
    if settings.interim_answers == "direct":
        return not is_forwarded(fields)
    return settings.interim_answers == "always"


class Interim:
    """The listener of one creation or append. See ``service.listening.Listener``."""

    def __init__(
        self,
        exchange: Exchange,
        translator: Translator,
        asked: Asked,
        location: Callable[[Upload], str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._exchange = exchange
        self._translator = translator
        self._asked = asked
        self._location = location
        self._clock = clock
        self._told_offset: int | None = None
        self._left = MAX_PROGRESS
        self._pause_seconds = FIRST_PAUSE_SECONDS
        self._next_at = 0.0

    def created(self, upload: Upload) -> bool:
        self._told_offset = upload.offset  # that nothing came yet is known
        early = self._translator.build_early(self._asked, upload, self._location(upload))
        if early is not None and self._exchange.send_interim(early):
            self._exchange.is_address_told = True
        return self._exchange.is_address_told

    def advanced(self, upload: Upload) -> None:
        now = self._clock()
        # A lease is renewed also while nothing comes.
        if not self._left or now < self._next_at or upload.offset == self._told_offset:
            return
        progress = self._translator.build_progress(self._asked, upload)
        if progress is not None and self._exchange.send_interim(progress):
            self._told_offset = upload.offset
            self._left -= 1
            self._next_at = now + self._pause_seconds
            self._pause_seconds *= PAUSE_GROWTH
