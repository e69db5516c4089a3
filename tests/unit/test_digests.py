"""Hashing as bytes pass: the published values, in whatever pieces the bytes come."""

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tusd_py.core.digests import Algorithm, Digest
from tusd_py.digests import build_hasher, matches

VECTORS: Final = [
    # RFC 3174, 7.3
    pytest.param("sha1", b"abc", "a9993e364706816aba3e25717850c26c9cd0d89d", id="sha1, TEST1"),
    pytest.param(
        "sha1",
        b"01234567" * 80,
        "dea356a2cddd90c7a7ecedc5ebb563934f460452",
        id="sha1, TEST4",
    ),
    # RFC 6234, 8.5
    pytest.param(
        "sha256",
        b"abc",
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        id="sha256, TEST1",
    ),
    pytest.param(
        "sha512",
        b"abc",
        "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
        "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
        id="sha512, TEST1",
    ),
    # RFC 1321, A.5
    pytest.param("md5", b"", "d41d8cd98f00b204e9800998ecf8427e", id="md5 of nothing"),
    pytest.param(
        "md5", b"message digest", "f96b697d7cb7938d525a2f31aaf161d0", id="md5 of a message"
    ),
    # RFC 7143, A.4 shows the CRC as it stands on its wire, the lowest byte first; as a number, and
    # so in network byte order, its bytes are these.
    pytest.param("crc32c", bytes(32), "8a9136aa", id="crc32c of 32 zeros"),
    pytest.param("crc32c", b"\xff" * 32, "62a8ab43", id="crc32c of 32 ones"),
    pytest.param("crc32c", bytes(range(32)), "46dd794e", id="crc32c, ascending"),
    pytest.param("crc32c", bytes(range(31, -1, -1)), "113fdb5c", id="crc32c, descending"),
    pytest.param("crc32c", b"123456789", "e3069283", id="crc32c, the check value of its catalogue"),
]


@pytest.mark.parametrize(("algorithm", "text", "published"), VECTORS)
def test_a_published_value_comes_out(algorithm: str, text: bytes, published: str) -> None:
    hasher = build_hasher(Algorithm(algorithm))
    hasher.update(text)
    assert hasher.digest().hex() == published


@pytest.mark.parametrize("algorithm", Algorithm)
def test_every_algorithm_makes_as_many_bytes_as_it_says(algorithm: Algorithm) -> None:
    assert len(build_hasher(algorithm).digest()) == algorithm.size_bytes


@given(st.sampled_from(Algorithm), st.lists(st.binary(max_size=100), max_size=8))
def test_pieces_hash_to_what_the_whole_hashes_to(algorithm: Algorithm, pieces: list[bytes]) -> None:
    """Also views, of memory that is used again for the next piece, as the stores have them."""
    whole, apart, buffer = build_hasher(algorithm), build_hasher(algorithm), bytearray(100)
    whole.update(b"".join(pieces))
    for piece in pieces:
        buffer[: len(piece)] = piece
        with memoryview(buffer) as view:
            apart.update(view[: len(piece)])
    assert apart.digest() == whole.digest()
    assert matches(apart, Digest(algorithm, whole.digest()))


@given(st.sampled_from(Algorithm), st.binary(max_size=40), st.data())
def test_one_bit_more_or_less_is_no_match(
    algorithm: Algorithm, text: bytes, data: st.DataObject
) -> None:
    hasher = build_hasher(algorithm)
    hasher.update(text)
    right = hasher.digest()
    bit = data.draw(st.integers(0, len(right) * 8 - 1))
    wrong = (int.from_bytes(right) ^ 1 << bit).to_bytes(len(right))
    assert not matches(hasher, Digest(algorithm, wrong))


def test_a_hasher_can_be_asked_before_the_end() -> None:
    hasher = build_hasher(Algorithm.CRC32C)
    hasher.update(b"1234")
    assert hasher.digest() != bytes(4)
    hasher.update(b"56789")
    assert hasher.digest().hex() == "e3069283"
