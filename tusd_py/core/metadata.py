"""What a client says about its file, kept in tus's own notation.

tus 1.0, "Upload-Metadata": comma-separated pairs of a key and a Base64 value. The text is kept as
the client wrote it, because a HEAD must return it byte for byte; values are decoded when asked for.
"""

import base64
import binascii
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from tusd_py.core.errors import InvalidMetadata

MAX_PAIRS: Final = 64
MAX_KEY_CHARS: Final = 128

_UNFIT_IN_KEYS: Final = re.compile(r"[\x00-\x20\x7f-\x9f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Metadata:
    """The pairs as they came, less those that must not be kept (the token)."""

    wire: str = ""

    def values(self) -> Mapping[str, bytes]:
        """Key to decoded value, in the client's order; a key without a value has ``b""``."""
        return parse_pairs(self.wire)

    def text(self, key: str) -> str | None:
        """The value of ``key`` as text without surrounding white space, None where it is absent.

        Bytes that are not UTF-8 become U+FFFD: for names of files and comparisons, not for echoes.
        """
        value = self.values().get(key)
        return None if value is None else value.decode("utf-8", "replace").strip()

    def without(self, keys: Collection[str]) -> "Metadata":
        """The same text less the pairs with these keys; all other bytes stay as they are."""
        pairs = self.wire.split(",")
        kept = [pair for pair in pairs if pair.strip(" \t").partition(" ")[0] not in keys]
        return self if len(kept) == len(pairs) else Metadata(",".join(kept).strip(" \t"))


def parse_pairs(wire: str) -> dict[str, bytes]:
    """Decode ``wire``. Raises InvalidMetadata where a pair is malformed or a key repeats.

    tus 1.0: "The key and value MUST be separated by a space. The key MUST NOT contain spaces and
    commas and MUST NOT be empty. […] The value MUST be Base64 encoded. All keys MUST be unique."
    Empty text has no pairs (tuspy sends an empty header).
    """
    pairs: dict[str, bytes] = {}
    if not wire.strip(" \t"):
        return pairs
    parts = wire.split(",")
    if len(parts) > MAX_PAIRS:
        raise InvalidMetadata(f"has more than {MAX_PAIRS} pairs")
    for number, part in enumerate(parts, 1):
        key, _, encoded = part.strip(" \t").partition(" ")
        _check_key(key, number)
        if key in pairs:
            raise InvalidMetadata(f"repeats the key of pair {number}")
        pairs[key] = _decode(encoded.strip(" \t"), number)
    return pairs


def _check_key(key: str, number: int) -> None:
    if not key:
        raise InvalidMetadata(f"has an empty key in pair {number}")
    if len(key) > MAX_KEY_CHARS:
        raise InvalidMetadata(f"has a key of over {MAX_KEY_CHARS} characters in pair {number}")
    # "SHOULD be ASCII": others are let through as they came, control characters never, nor bytes
    # that are not UTF-8 (they arrive as lone surrogates and could not be sent back).
    if _UNFIT_IN_KEYS.search(key):
        raise InvalidMetadata(f"has a character that no key may have in pair {number}")


def _decode(encoded: str, number: int) -> bytes:
    if not encoded:
        return b""
    # "value MAY be empty"; a Base64 text whose padding was dropped has one meaning, so it is read.
    padded = encoded + "=" * (-len(encoded) % 4) if "=" not in encoded else encoded
    try:
        return base64.b64decode(padded.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError) as exc:
        raise InvalidMetadata(f"has a value that is not Base64 in pair {number}") from exc


def build_pairs(values: Mapping[str, bytes]) -> Metadata:
    """The metadata that says ``values``: ``parse_pairs`` of it gives them back."""
    return Metadata(
        ",".join(
            f"{key} {base64.b64encode(value).decode('ascii')}" if value else key
            for key, value in values.items()
        )
    )
