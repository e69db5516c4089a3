"""What is sent back, whichever protocol was spoken: a status, headers, a body."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from tusd_py.core.errors import UploadError
from tusd_py.protocol.headers import CONTENT_TYPE, CONTENT_TYPE_OPTIONS, JSON

Header = tuple[str, str]
# Text of ours with a client's words in it must never be taken for a page.
_JSON_HEADERS: Final[tuple[Header, ...]] = (
    (CONTENT_TYPE, JSON),
    (CONTENT_TYPE_OPTIONS, "nosniff"),
)


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer before it is framed for the wire."""

    status: int
    headers: tuple[Header, ...] = ()
    body: bytes = b""
    code: str | None = None
    """The stable code of a refusal; None where nothing was refused."""

    def header(self, name: str) -> str | None:
        """The value of the header of exactly this name, for logs and tests."""
        return next((value for key, value in self.headers if key == name), None)


def build_json(status: int, headers: tuple[Header, ...], said: Mapping[str, object]) -> Answer:
    """An answer for programs."""
    # A lone surrogate (a header that was not UTF-8) must not make an answer fail.
    body = json.dumps(said, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
    return Answer(status, (*headers, *_JSON_HEADERS), body)


def build_refusal(
    error: UploadError,
    status: int,
    headers: tuple[Header, ...],
    request_id: str,
    more: Mapping[str, object] | None = None,
) -> Answer:
    """A refusal: its code for programs, its sentence for people, the request's id for the log.
    ``more``: what else there is to say."""
    said = {"code": error.code, "message": str(error), "request_id": request_id, **(more or {})}
    return replace(build_json(status, headers, said), code=error.code)
