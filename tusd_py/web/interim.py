"""Interim answers (1xx): what a client hears while its body is still on the way."""

from collections.abc import Callable

from tusd_py.core.upload import Upload
from tusd_py.protocol.base import Asked, Translator
from tusd_py.web.exchange import Exchange


class Interim:
    """The listener of one creation or append. See ``service.listening.Listener``."""

    def __init__(
        self,
        exchange: Exchange,
        translator: Translator,
        asked: Asked,
        location: Callable[[Upload], str],
    ) -> None:
        self._exchange = exchange
        self._translator = translator
        self._asked = asked
        self._location = location
        self._told_offset: int | None = None

    def created(self, upload: Upload) -> bool:
        early = self._translator.build_early(self._asked, upload, self._location(upload))
        if early is not None and self._exchange.send_interim(early):
            self._exchange.is_address_told = True
        return self._exchange.is_address_told

    def advanced(self, upload: Upload) -> None:
        if upload.offset == self._told_offset:
            return  # a lease is renewed also while nothing comes
        self._told_offset = upload.offset
        progress = self._translator.build_progress(self._asked, upload)
        if progress is not None:
            self._exchange.send_interim(progress)
