"""What a sender says its bytes hash to, as values."""

import hashlib

import pytest

from tusd_py.core.digests import NO_PROMISE, Algorithm, Digest, Promise


@pytest.mark.parametrize("algorithm", Algorithm)
def test_a_size_is_what_the_algorithm_makes(algorithm: Algorithm) -> None:
    if algorithm is Algorithm.CRC32C:
        assert algorithm.size_bytes == 4
    else:
        made = hashlib.new(algorithm, usedforsecurity=False)
        assert made.digest_size == algorithm.size_bytes


def test_an_algorithm_has_the_name_that_tus_gives_it() -> None:
    assert [str(one) for one in Algorithm] == ["sha1", "sha256", "sha512", "md5", "crc32c"]


def test_a_digest_in_a_log_is_short() -> None:
    assert repr(Digest(Algorithm.SHA512, b"\x01\x02\x03\x04" * 16)) == "<sha512 01020304…>"
    assert repr(Digest(Algorithm.CRC32C, b"\x01\x02\x03\x04")) == "<crc32c 01020304>"


def test_a_promise_is_empty_where_nothing_was_said_and_nothing_will_be() -> None:
    digest = Digest(Algorithm.CRC32C, bytes(4))
    assert NO_PROMISE.is_empty and Promise().is_empty
    assert not Promise(digests=(digest,)).is_empty
    assert not Promise(trailer=lambda: ()).is_empty
