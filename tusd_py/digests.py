"""Hashing bytes as they pass, and comparing the outcome with what was said of them.

A hash has no state that could be kept over a restart: what is to be known of a whole file is
read again from its bytes.
"""

import hashlib
import hmac
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from crc32c import CRC32CHash

from tusd_py.core.digests import Algorithm, Digest

Piece = bytes | bytearray | memoryview


class Hasher(Protocol):
    """One hash in the making."""

    def update(self, data: Piece, /) -> None:
        """Add the next bytes, which are not copied. Megabytes of them belong into a thread: the
        interpreter's lock is let go meanwhile."""

    def digest(self) -> bytes:
        """The value of all bytes so far, in network byte order; more may follow."""


_BUILD: Final[Mapping[Algorithm, Callable[[], Hasher]]] = {
    Algorithm.SHA1: lambda: hashlib.sha1(usedforsecurity=False),
    Algorithm.SHA256: hashlib.sha256,
    Algorithm.SHA512: hashlib.sha512,
    # A client may ask for it, and a system that forbids it for signatures still has to serve that.
    Algorithm.MD5: lambda: hashlib.md5(usedforsecurity=False),
    Algorithm.CRC32C: CRC32CHash,
}


def build_hasher(algorithm: Algorithm) -> Hasher:
    """A hash of no bytes yet."""
    return _BUILD[algorithm]()


def matches(hasher: Hasher, said: Digest) -> bool:
    """Whether the bytes that ``hasher`` saw, of the algorithm of ``said``, are those meant."""
    return hmac.compare_digest(hasher.digest(), said.value)
