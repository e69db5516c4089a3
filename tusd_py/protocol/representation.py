"""What a request's ordinary fields say of the file it carries, as the metadata of an upload.

RFC 9110 and 6266 have fields for it: clients that know no ``Upload-Metadata`` (a phone's own HTTP
library) name the type and perhaps the name in these.
"""

import re
import unicodedata
from typing import Final
from urllib.parse import unquote_to_bytes

from tusd_py.core.metadata import Metadata, build_pairs
from tusd_py.protocol import headers as h

MAX_NAME_BYTES: Final = 255
"""What a file system takes; the rest of a longer name is cut."""
MAX_TOKEN_CHARS: Final = 127

_TOKEN: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_MEDIA_TYPE: Final = re.compile(rf"{_TOKEN}/{_TOKEN}")
_CODINGS: Final = re.compile(rf"{_TOKEN}(?:, ?{_TOKEN})*")
_DISPOSITION: Final = re.compile(rf"[ \t]*{_TOKEN}[ \t]*(?=;|$)")
_PARAMETER: Final = re.compile(
    rf';[ \t]*(?:({_TOKEN})[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]*))[ \t]*)?(?=;|$)'
)
_QUOTED_PAIR: Final = re.compile(r"\\(.)", re.DOTALL)
_EXTENDED: Final = re.compile(
    r"(utf-8|iso-8859-1)'[^']*'((?:[^%']|%[0-9A-Fa-f]{2})*)", re.IGNORECASE
)
# Types of the protocols themselves say how bytes are sent, not what they are.
_ENVELOPES: Final = frozenset({h.PARTIAL_UPLOAD, h.OFFSET_OCTET_STREAM})
# They turn the direction of writing, so that a name shows another suffix than it has.
_TURNS: Final = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_UNFIT: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})


def parse_representation(fields: h.Fields) -> Metadata:
    """``filename``, ``filetype`` and ``content_encoding``, each where it is told and well written;
    what is not is left away: these fields describe, a file can do without."""
    values: dict[str, bytes] = {}
    name = parse_file_name(fields.getall(h.CONTENT_DISPOSITION, []))
    if name is not None:
        values["filename"] = name.encode("utf-8")
    types = fields.getall(h.CONTENT_TYPE, [])
    media_type = h.parse_media_type(types[0] if types else None)
    if media_type not in _ENVELOPES and _fits(_MEDIA_TYPE, media_type):
        values["filetype"] = media_type.encode("ascii")
    codings = ", ".join(fields.getall(h.CONTENT_ENCODING, [])).strip(" \t").lower()
    if codings != "identity" and _fits(_CODINGS, codings):
        values["content_encoding"] = codings.encode("ascii")
    return build_pairs(values)


def parse_file_name(lines: list[str]) -> str | None:
    """The name in ``Content-Disposition``, fit to be one: no path, no control character, bounded.

    RFC 6266, 4.3: ``filename*`` counts before ``filename``, and directories are dropped.
    """
    if len(lines) != 1 or (start := _DISPOSITION.match(lines[0])) is None:
        return None
    found: dict[str, str] = {}
    at = start.end()
    while at < len(lines[0]):
        match = _PARAMETER.match(lines[0], at)
        if match is None:
            break
        at = match.end()
        if match[1] is not None:
            value = match[3] if match[2] is None else _QUOTED_PAIR.sub(r"\1", match[2])
            found.setdefault(match[1].lower(), value)
    for name in (_decode_extended(found.get("filename*", "")), found.get("filename", "")):
        if name is not None and (clean := _clean(name)) is not None:
            return clean
    return None


def _fits(pattern: re.Pattern[str], text: str) -> bool:
    return len(text) <= MAX_TOKEN_CHARS and pattern.fullmatch(text) is not None


def _decode_extended(text: str) -> str | None:
    """RFC 8187: a character set, a language, and octets with percent signs."""
    match = _EXTENDED.fullmatch(text)
    if match is None:
        return None
    # Lone surrogates stand for bytes of the header that were no UTF-8; they become U+FFFD.
    octets = unquote_to_bytes(match[2].encode("utf-8", "surrogatepass"))
    return octets.decode(match[1].lower(), "replace")


def _clean(name: str) -> str | None:
    last = name.replace("\\", "/").rstrip("/").rpartition("/")[2]
    kept = "".join(c for c in last if unicodedata.category(c) not in _UNFIT and c not in _TURNS)
    kept = kept.encode("utf-8")[:MAX_NAME_BYTES].decode("utf-8", "ignore").strip()
    return None if kept in ("", ".", "..") else kept
