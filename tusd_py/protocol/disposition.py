"""As what a file is handed to a browser: its media type, shown or saved, and under which name.

The type is a client's word. Only types that cannot run anything, and that the operator lists, are
told as they are and shown in place; all else is bytes without a type, to be saved.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from tusd_py.core.destination import clean_filename
from tusd_py.core.metadata import Metadata
from tusd_py.protocol.headers import parse_media_type

OCTET_STREAM: Final = "application/octet-stream"
TYPE_KEYS: Final = ("filetype", "type")
"""Of the metadata: what Uppy and tus-js-client's users call the media type."""
NAME_KEYS: Final = ("filename", "name")
CODING_KEY: Final = "content_encoding"
"""What a creation's own Content-Encoding became: the bytes are kept as they were sent."""
CODINGS: Final = frozenset({"br", "compress", "deflate", "gzip", "x-gzip", "zstd"})
HARMLESS_FAMILIES: Final = ("audio/*", "video/*")
HARMLESS_TEXTS: Final = ("text/plain", "text/vtt")

_TOKEN: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}"
_MEDIA_TYPE: Final = re.compile(rf"{_TOKEN}/{_TOKEN}", re.ASCII)
_ATTRIBUTE_CHARS: Final = "!#$&+-.^_`|~"
"""RFC 8187, 3.2.1: "attr-char" besides letters and digits."""


@dataclass(frozen=True, slots=True)
class Presentation:
    """What a browser goes by: one header each."""

    content_type: str
    disposition: str
    coding: str | None = None
    """Content-Encoding; None: the bytes are the file itself."""


def present(metadata: Metadata, inline_types: Collection[str]) -> Presentation:
    """``inline_types``: lower case, each one that ``check_inline_type`` accepts."""
    values = (metadata.text(key) for key in TYPE_KEYS)
    stated = parse_media_type(next((value for value in values if value), None))
    family = stated.partition("/")[0] + "/*"
    is_listed = stated in inline_types or family in inline_types
    is_type = _MEDIA_TYPE.fullmatch(stated) is not None and "*" not in stated
    is_inline = is_listed and is_type and _is_harmless(stated)
    return Presentation(
        content_type=stated if is_inline else OCTET_STREAM,
        disposition=build_disposition(_name_of(metadata), is_inline=is_inline),
        coding=_coding_of(metadata),
    )


def check_inline_type(text: str) -> str:
    """The type in lower case. Raises ValueError where a file of it could run in a browser."""
    media_type = text.strip().lower()
    if not _MEDIA_TYPE.fullmatch(media_type):
        raise ValueError(f"{text!r} is no media type")
    if not _is_harmless(media_type):
        raise ValueError(
            f"{text!r} is never shown in place: it can run scripts, or is a family that has such "
            "types"
        )
    return media_type


def _is_harmless(media_type: str) -> bool:
    family, _, subtype = media_type.partition("/")
    if media_type in HARMLESS_FAMILIES or media_type in HARMLESS_TEXTS:
        return True
    # image/svg+xml, and whatever else is XML: a page by another name.
    return family in ("audio", "video", "image") and "*" not in subtype and "xml" not in subtype


def build_disposition(name: str | None, *, is_inline: bool) -> str:
    """RFC 6266: a plain name for old clients, and the true one where that says more. ``name`` was
    cleaned: it has no quote, no backslash and no control character."""
    kind = "inline" if is_inline else "attachment"
    if name is None:
        return kind
    plain = "".join(_plain(char) for char in name)
    text = f'{kind}; filename="{plain}"'
    if plain == name:
        return text
    return f"{text}; filename*=UTF-8''{quote(name, safe=_ATTRIBUTE_CHARS)}"


def _plain(char: str) -> str:
    # Some clients decode a percent sign, though it means nothing there (RFC 6266, appendix D).
    return char if " " <= char <= "~" and char not in '%"\\' else "_"


def _name_of(metadata: Metadata) -> str | None:
    stated = next((value for key in NAME_KEYS if (value := metadata.text(key))), None)
    return None if stated is None else clean_filename(stated, fallback="") or None


def _coding_of(metadata: Metadata) -> str | None:
    """Of one coding only: several are nobody's practice."""
    stated = (metadata.text(CODING_KEY) or "").lower()
    return stated if stated in CODINGS else None
