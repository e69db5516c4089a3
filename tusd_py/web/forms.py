"""``multipart/form-data`` over a ``ByteSource``: its files as sources themselves.

What one read brought is all of a file that is ever in memory. A file's source reads on when it is
read, so the store's pace is the client's.
"""

import asyncio
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from tusd_py.core.errors import FormInvalid, UploadError
from tusd_py.protocol import headers as h
from tusd_py.service.receiving import ERRORS
from tusd_py.streams import ByteSource, SourceEnd
from tusd_py.web.form_parts import (
    MAX_AROUND_BYTES,
    Field,
    FileHead,
    FormLimits,
    PartReader,
)

AFTER_SECONDS: Final = 1.0
"""What stands behind the last boundary is waited for so long."""
STEP_BYTES: Final = 32 * 1024
"""The parser goes byte by byte about what looks like a boundary: others get their turn between."""
MANY_BOUNDARIES: Final = 256


class Form:
    """A form that is read from a body, file by file."""

    def __init__(
        self,
        boundary: bytes,
        body: ByteSource,
        limits: FormLimits,
        fields: Mapping[str, bytes] | None = None,
    ) -> None:
        """``fields``: what holds for every file before the form says otherwise."""
        self._body = body
        self._reader = PartReader(boundary, limits)
        self._delimiter = b"\r\n--" + boundary
        self._unfed: deque[bytes] = deque()
        self._fields = dict(fields or {})

    @property
    def error(self) -> FormInvalid | None:
        """What is wrong with the form itself, as far as it was read."""
        if self._reader.error is not None:
            return self._reader.error
        if self._body.end is SourceEnd.COMPLETE and not (self._reader.is_over or self._unfed):
            return FormInvalid("its last boundary is missing")
        return None

    async def next_file(self) -> "FormFile | None":
        """The next file, with the fields that came before it; None where no more comes. What was
        not read of the one before is skipped.

        Raises FormInvalid, or what ended the body early. Cancelling is safe.
        """
        while True:
            while self._reader.events:
                event = self._reader.events.popleft()
                if isinstance(event, Field):
                    self._fields[event.name] = event.value
                elif isinstance(event, FileHead):
                    file = FormFile(self, event.headers, dict(self._fields))
                    # They name and type one file; the others hold until they are said anew.
                    self._fields.pop("filename", None)
                    self._fields.pop("filetype", None)
                    return file
            if not await self.read_on():
                if self._reader.is_over:
                    return None
                raise self._why_cut_short()

    async def finish(self) -> None:
        """Read what stands behind the last boundary, a little and for a short time, so that the
        connection can be used again. Never raises for what the peer does."""
        room = MAX_AROUND_BYTES
        with suppress(TimeoutError):
            async with asyncio.timeout(AFTER_SECONDS):
                while room > 0 and (data := await self._body.read()):
                    room -= len(data)

    # ------------------------------------------------------------------ for its files

    async def invite(self) -> None:
        """See ``ByteSource.invite``."""
        await self._body.invite()

    async def read_on(self) -> bool:
        """Take in some more; False where nothing more comes, or can be understood. Cancelling is
        safe."""
        if self._reader.is_over or self._reader.error is not None:
            return False
        if self._unfed:
            await asyncio.sleep(0)
        else:
            data = await self._body.read()
            if not data:
                return False
            self._unfed.extend(self._steps_of(data))
        self._reader.feed(self._unfed.popleft())
        return True

    def take(self) -> bytes | None:
        """The next bytes of the file that is read: ``b""`` at its end, None where none wait."""
        if not self._reader.events:
            return None
        event = self._reader.events.popleft()
        # Within a file nothing else comes than its bytes and its end.
        return event if isinstance(event, bytes) else b""

    def end_of_cut_file(self) -> SourceEnd:
        """Why the file that is read ends before its end."""
        if self.error is not None or self._body.end is None:
            return SourceEnd.MALFORMED
        return self._body.end

    def _steps_of(self, data: bytes) -> list[bytes]:
        if len(data) <= STEP_BYTES or data.count(self._delimiter) <= MANY_BOUNDARIES:
            return [data]
        return [data[at : at + STEP_BYTES] for at in range(0, len(data), STEP_BYTES)]

    def _why_cut_short(self) -> UploadError:
        if (error := self.error) is not None:
            return error
        return ERRORS[self._body.end or SourceEnd.MALFORMED]()


class FormFile(ByteSource):
    """One file of a form, on its way. How long it is shows at its end."""

    def __init__(self, form: Form, headers: h.Fields, fields: Mapping[str, bytes]) -> None:
        self.headers = headers
        """Of its part."""
        self.fields = fields
        """Those of the form that came before it."""
        self._form = form
        self._end: SourceEnd | None = None

    @property
    def announced_bytes(self) -> int | None:
        return None

    @property
    def end(self) -> SourceEnd | None:
        return self._end

    async def invite(self) -> None:
        await self._form.invite()

    async def read(self) -> bytes:
        while self._end is None:
            data = self._form.take()
            if data:
                return data
            if data is not None:
                self._end = SourceEnd.COMPLETE
            elif not await self._form.read_on():
                self._end = self._form.end_of_cut_file()
        return b""
