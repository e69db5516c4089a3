"""Fields that say what bytes hash to: ``Upload-Checksum`` (tus 1.0), ``Content-Digest`` and
``Repr-Digest`` with their ``Want-…`` (RFC 9530).

Which algorithm is good enough is the sender's choice: these are against accidents of the line, and
an old one finds those too.
"""

import base64
import binascii
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from tusd_py.core.digests import Algorithm, Digest
from tusd_py.core.errors import ChecksumUnsupported, InvalidHeader
from tusd_py.protocol.headers import UPLOAD_CHECKSUM
from tusd_py.protocol.structured import (
    StructuredFieldError,
    build_dictionary,
    parse_dictionary,
)

HTTP_NAMES: Final[Mapping[Algorithm, str]] = {
    Algorithm.SHA512: "sha-512",
    Algorithm.SHA256: "sha-256",
    Algorithm.SHA1: "sha",
    Algorithm.MD5: "md5",
    Algorithm.CRC32C: "crc32c",
}
"""The registry of RFC 9530, 7.2. tus has the names of ``Algorithm`` itself."""
_BY_HTTP_NAME: Final = {name: algorithm for algorithm, name in HTTP_NAMES.items()}
_BY_TUS_NAME: Final = {str(algorithm): algorithm for algorithm in Algorithm}
_MOST_WANTED: Final = 10
_HEX: Final = frozenset(b"0123456789abcdefABCDEF")
_CHECKSUM: Final = "the name of an algorithm, one space, and the Base64 of its digest's bytes"
_DIGESTS: Final = "a Dictionary of algorithms and the Byte Sequences of their digests"


def parse_checksum(text: str) -> Digest | None:
    """tus 1.0: "the name of the used checksum algorithm and the Base64 encoded checksum separated
    by a space".

    None for the one known peculiarity: tusc sends the Base64 of the *hexadecimal* digest, of its
    whole file, with each request. It is told by its size: the hexadecimal form of the algorithm's
    digest, exactly, which no tus checksum has. Nothing can be verified by it; whether it is
    ignored or refused is for the caller to say.
    """
    name, _, encoded = text.partition(" ")
    if not name or not encoded:
        raise InvalidHeader(UPLOAD_CHECKSUM, _CHECKSUM)
    algorithm = _BY_TUS_NAME.get(name)
    if algorithm is None:
        raise ChecksumUnsupported()
    value = _decode(encoded)
    if value is None:
        raise InvalidHeader(UPLOAD_CHECKSUM, _CHECKSUM)
    if len(value) == 2 * algorithm.size_bytes and _HEX.issuperset(value):
        return None
    if len(value) != algorithm.size_bytes:
        raise InvalidHeader(UPLOAD_CHECKSUM, _size_of(name, algorithm))
    return Digest(algorithm, value)


def _decode(encoded: str) -> bytes | None:
    """The bytes that have exactly this Base64, if any have."""
    try:
        value = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return None
    # The last character may have bits that mean nothing: bytes have one spelling here.
    return value if base64.b64encode(value).decode("ascii") == encoded else None


def parse_digests(name: str, lines: Sequence[str]) -> tuple[Digest, ...]:
    """All digests of a ``Content-Digest`` or ``Repr-Digest`` whose algorithms are known here.

    RFC 9530, 2: others are ignored. What cannot be parsed is refused (RFC 9651, 4.2, leaves the
    choice): a sender that wants its bytes verified must not believe that they were.
    """
    try:
        members = parse_dictionary(lines)
    except StructuredFieldError as error:
        raise InvalidHeader(name, _DIGESTS) from error
    digests = []
    for key, value in members.items():
        algorithm = _BY_HTTP_NAME.get(key)
        if algorithm is None:
            continue
        if not isinstance(value, bytes):
            raise InvalidHeader(name, _DIGESTS)
        if len(value) != algorithm.size_bytes:
            raise InvalidHeader(name, _size_of(key, algorithm))
        digests.append(Digest(algorithm, value))
    return tuple(digests)


def _size_of(name: str, algorithm: Algorithm) -> str:
    return f"a digest of {algorithm.size_bytes} bytes for {name}"


def parse_wanted(lines: Sequence[str]) -> tuple[Algorithm, ...]:
    """The algorithms of a ``Want-Content-Digest`` or ``Want-Repr-Digest``, the most wanted first.

    RFC 9530, 4: "an Integer that conveys an ascending, relative, weighted preference", 0 to 10, and
    0 means "not acceptable". A wish, so nothing in it is ever refused: what is not well written is
    not wanted. What is wanted equally stays in the client's order.
    """
    try:
        members = parse_dictionary(lines)
    except StructuredFieldError:
        return ()
    weights: dict[Algorithm, int] = {}
    for key, weight in members.items():
        algorithm = _BY_HTTP_NAME.get(key)
        # A Boolean is an int in Python, and no Integer.
        if algorithm is not None and isinstance(weight, int) and not isinstance(weight, bool):
            weights[algorithm] = weight
    wanted = [algorithm for algorithm in weights if 0 < weights[algorithm] <= _MOST_WANTED]
    return tuple(sorted(wanted, key=lambda algorithm: -weights[algorithm]))


def build_repr_digest(digests: Iterable[Digest]) -> str:
    """The value of a ``Repr-Digest`` (or ``Content-Digest``); at least one digest is needed."""
    return build_dictionary({HTTP_NAMES[digest.algorithm]: digest.value for digest in digests})
