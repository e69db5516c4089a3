"""What a token's payload says, read strictly: what is malformed is refused, never ignored. Pure.

``exp`` and the rest of RFC 7519 are checked here and not by the JWT library, so that the clock is
an argument and no number in a payload can raise anything but ClaimsMalformed.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tusd_py.core.identity import TOKEN_KEY, Claims, Owner
from tusd_py.core.ids import ClientId, VideoId
from tusd_py.core.metadata import MAX_KEY_CHARS, MAX_PAIRS

MAX_ID_CHARS: Final = 255
MAX_SIZE: Final = (1 << 63) - 1
MAX_TYPES: Final = 64
MAX_SCOPES: Final = 64
MAX_VALUE_CHARS: Final = 4096

_NAME = r"[A-Za-z0-9!#$&^_.+-]{1,127}"
_MEDIA_TYPE = re.compile(rf"(?:{_NAME}/(?:{_NAME}|\*)|\*/\*)", re.ASCII)


class ClaimsMalformed(ValueError):
    """A payload that is not believed. The text names the claim and never quotes its value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What tokens must say, and under which names."""

    video_claim: str
    client_claim: str
    audience: str | None
    issuer: str | None
    leeway_seconds: float


def parse_payload(payload: bytes) -> dict[str, Any]:
    """The JSON object in ``payload``. Raises ClaimsMalformed."""
    try:
        document = json.loads(payload, object_pairs_hook=_unique, parse_constant=_no_constant)
    except ClaimsMalformed:
        raise
    except (ValueError, RecursionError) as exc:
        raise ClaimsMalformed("the payload is not JSON") from exc
    if not isinstance(document, dict):
        raise ClaimsMalformed("the payload is not a JSON object")
    return document


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    # RFC 7519, 4: "The Claim Names within a JWT Claims Set MUST be unique".
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ClaimsMalformed("a name stands twice in the payload")
    return found


def _no_constant(name: str) -> None:
    raise ClaimsMalformed(f"the payload has the number {name}")


def check_times(
    payload: Mapping[str, Any], expected: Expected, *, now: float, ignore_expiry: bool
) -> None:
    """``exp`` is there and ahead, ``nbf`` is past. Raises ClaimsMalformed."""
    expiry = _time(payload, "exp")
    if expiry is None:
        raise ClaimsMalformed("exp is missing")
    # RFC 7519, 4.1.4: "on or after which the JWT MUST NOT be accepted".
    if not ignore_expiry and now >= expiry + expected.leeway_seconds:
        raise ClaimsMalformed("exp has passed")
    not_before = _time(payload, "nbf")
    if not_before is not None and now < not_before - expected.leeway_seconds:
        raise ClaimsMalformed("nbf has not come yet")
    _time(payload, "iat")


def _time(payload: Mapping[str, Any], name: str) -> float | None:
    if name not in payload:
        return None
    value = payload[name]
    # bool is an int to Python and not a number to JSON; 1e999 becomes infinite.
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or (isinstance(value, float) and not math.isfinite(value)):
        raise ClaimsMalformed(f"{name} is not a number")
    try:
        return float(value)
    except OverflowError as exc:
        raise ClaimsMalformed(f"{name} is not a time") from exc


def check_parties(payload: Mapping[str, Any], expected: Expected) -> None:
    """The token is from whom and for whom it should be. Raises ClaimsMalformed."""
    if expected.issuer is not None and payload.get("iss") != expected.issuer:
        raise ClaimsMalformed("iss is not the configured one")
    if "aud" not in payload:
        if expected.audience is not None:
            raise ClaimsMalformed("aud is missing")
        return
    audience = payload["aud"]
    named = [audience] if isinstance(audience, str) else audience
    if not isinstance(named, list) or not all(isinstance(one, str) for one in named):
        raise ClaimsMalformed("aud is neither text nor a list of texts")
    # RFC 7519, 4.1.3: who does not find itself in an "aud" that is present MUST refuse the token.
    if expected.audience is None:
        raise ClaimsMalformed("aud is there, but auth.audience is not set")
    if expected.audience not in named:
        raise ClaimsMalformed("aud does not name the configured audience")


def build_claims(payload: Mapping[str, Any], expected: Expected) -> Claims:
    """The claims that uploads care for. Raises ClaimsMalformed."""
    return Claims(
        owner=Owner(
            VideoId(_identifier(payload, expected.video_claim)),
            ClientId(_identifier(payload, expected.client_claim)),
        ),
        max_bytes=_max_size(payload),
        allowed_types=_allowed_types(payload),
        metadata=_metadata(payload),
        scope=_scope(payload),
        once_id=_once_id(payload),
    )


def _identifier(payload: Mapping[str, Any], name: str) -> str:
    """Text or an integer, as text: 15 and "15" are the same video."""
    value = payload.get(name)
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= MAX_SIZE:
        return str(value)
    if not isinstance(value, str):
        raise ClaimsMalformed(f"{name} is neither text nor an integer")
    text = value.strip()
    # It is shown in refusals, logged, and may become part of a path.
    if not text or len(text) > MAX_ID_CHARS or not text.isprintable():
        raise ClaimsMalformed(f"{name} is empty, too long or not printable")
    return text


def _max_size(payload: Mapping[str, Any]) -> int | None:
    if "max_size" not in payload:
        return None
    value = payload["max_size"]
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_SIZE:
        raise ClaimsMalformed("max_size is not a number of bytes")
    return value


def _allowed_types(payload: Mapping[str, Any]) -> tuple[str, ...] | None:
    if "allowed_types" not in payload:
        return None
    value = payload["allowed_types"]
    if not isinstance(value, list) or len(value) > MAX_TYPES:
        raise ClaimsMalformed(f"allowed_types is not a list of up to {MAX_TYPES} media types")
    if not all(isinstance(one, str) and _MEDIA_TYPE.fullmatch(one) for one in value):
        raise ClaimsMalformed("allowed_types holds something that is not a media type")
    return tuple(value)


def _metadata(payload: Mapping[str, Any]) -> dict[str, str]:
    value = payload.get("metadata", {})
    if not isinstance(value, dict) or len(value) > MAX_PAIRS:
        raise ClaimsMalformed(f"metadata is not an object with up to {MAX_PAIRS} members")
    return {_metadata_key(key): _metadata_value(one) for key, one in value.items()}


def _metadata_key(key: str) -> str:
    is_word = key.isprintable() and not any(char in " ," for char in key)
    if not key or len(key) > MAX_KEY_CHARS or not is_word:
        raise ClaimsMalformed("metadata has a key that Upload-Metadata could not have")
    if key == TOKEN_KEY:
        raise ClaimsMalformed("metadata has the key token, which is never kept")
    return key


def _metadata_value(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= MAX_SIZE:
        return str(value)
    if not isinstance(value, str) or len(value) > MAX_VALUE_CHARS:
        raise ClaimsMalformed("metadata has a value that is neither short text nor an integer")
    try:
        value.encode()
    except UnicodeEncodeError as exc:  # "\ud800" is JSON and no text that could be stored
        raise ClaimsMalformed("metadata has a value that is not Unicode text") from exc
    return value


def _scope(payload: Mapping[str, Any]) -> frozenset[str] | None:
    if "scope" not in payload:
        return None
    value = payload["scope"]
    words = value.split() if isinstance(value, str) else value
    if not isinstance(words, list) or len(words) > MAX_SCOPES:
        raise ClaimsMalformed(f"scope is neither text nor a list of up to {MAX_SCOPES} words")
    if not all(isinstance(word, str) and word.isprintable() for word in words):
        raise ClaimsMalformed("scope holds something that is not a word")
    return frozenset(words)


def _once_id(payload: Mapping[str, Any]) -> str | None:
    once, identity = payload.get("once", False), payload.get("jti")
    if not isinstance(once, bool):
        raise ClaimsMalformed("once is neither true nor false")
    if "jti" in payload and (
        not isinstance(identity, str)
        or not 0 < len(identity) <= MAX_ID_CHARS
        or not identity.isprintable()
    ):
        raise ClaimsMalformed("jti is not printable text")
    if once and identity is None:
        raise ClaimsMalformed("once needs a jti")
    return identity if once else None


def build_payload(claims: Claims, expected: Expected) -> dict[str, Any]:
    """The payload that ``build_claims`` reads as ``claims``; without times."""
    payload: dict[str, Any] = {
        expected.video_claim: claims.owner.video_id,
        expected.client_claim: claims.owner.client_id,
    }
    optional = {
        "max_size": claims.max_bytes,
        "allowed_types": None if claims.allowed_types is None else list(claims.allowed_types),
        "metadata": dict(claims.metadata) or None,
        "scope": None if claims.scope is None else " ".join(sorted(claims.scope)),
        "jti": claims.once_id,
        "once": None if claims.once_id is None else True,
        "aud": expected.audience,
        "iss": expected.issuer,
    }
    return payload | {name: value for name, value in optional.items() if value is not None}
