"""What a sender says its bytes hash to. Values only: the hashing itself is ``tusd_py/digests``."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Algorithm(StrEnum):
    """The algorithms that can be verified, each under the name tus gives it."""

    SHA1 = "sha1"
    SHA256 = "sha256"
    SHA512 = "sha512"
    MD5 = "md5"
    CRC32C = "crc32c"

    @property
    def size_bytes(self) -> int:
        """How long each of its digests is."""
        return SIZE_BYTES[self]


SIZE_BYTES: Final[Mapping[Algorithm, int]] = {
    Algorithm.SHA1: 20,
    Algorithm.SHA256: 32,
    Algorithm.SHA512: 64,
    Algorithm.MD5: 16,
    Algorithm.CRC32C: 4,
}
_SHOWN_BYTES: Final = 4


@dataclass(frozen=True, slots=True, repr=False)
class Digest:
    """A digest of some bytes. Who parsed it has checked that the value has the right length."""

    algorithm: Algorithm
    value: bytes

    def __repr__(self) -> str:
        dots = "…" if len(self.value) > _SHOWN_BYTES else ""
        return f"<{self.algorithm} {self.value[:_SHOWN_BYTES].hex()}{dots}>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """What a sender says its body hashes to."""

    digests: tuple[Digest, ...] = ()
    """Known before the body."""
    trailer: Callable[[], tuple[Digest, ...]] | None = None
    """Asked once the body is over: what the trailer section says, () where it says nothing. Raises
    UploadError where it cannot be read. None where no trailer was announced."""

    @property
    def is_empty(self) -> bool:
        """Nothing was said, and nothing will be."""
        return not self.digests and self.trailer is None


NO_PROMISE: Final = Promise()
