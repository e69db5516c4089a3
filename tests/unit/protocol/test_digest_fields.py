"""Fields that say what bytes hash to: what is read of them, what is refused, what is ignored."""

import base64
import hashlib
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tusd_py.core.digests import Algorithm, Digest
from tusd_py.core.errors import ChecksumUnsupported, InvalidHeader
from tusd_py.protocol import digest_fields as fields

SHA1: Final = hashlib.sha1(b"hello").digest()
WHOLE_FILE: Final = hashlib.sha1(b"a whole file").hexdigest().encode()

DIGESTS = st.sampled_from(Algorithm).flatmap(
    lambda algorithm: st.builds(
        Digest,
        st.just(algorithm),
        st.binary(min_size=algorithm.size_bytes, max_size=algorithm.size_bytes),
    )
)


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()


@given(DIGESTS)
def test_a_checksum_of_tus_is_its_algorithm_and_the_bytes(digest: Digest) -> None:
    """TUS-CHK-13."""
    assert fields.parse_checksum(f"{digest.algorithm} {_base64(digest.value)}") == digest


def test_the_example_of_tus_is_read() -> None:
    digest = fields.parse_checksum("sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=")
    assert digest == Digest(
        Algorithm.SHA1, bytes.fromhex("2aae6c35c94fcfb415dbe95f408b9ce91ee846ed")
    )


@pytest.mark.parametrize("name", ["sha3", "crc32", "SHA1", "sha-1", "sha-256", "adler32", "ü"])
def test_an_unknown_algorithm_is_told_apart_and_the_known_ones_are_named(name: str) -> None:
    """TUS-CHK-03, TUS-CHK-08."""
    with pytest.raises(ChecksumUnsupported, match="sha1, sha256, sha512, md5, crc32c"):
        fields.parse_checksum(f"{name} {_base64(SHA1)}")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("sha1", id="no value"),
        pytest.param("sha1 ", id="an empty value"),
        pytest.param(" " + _base64(SHA1), id="no algorithm"),
        pytest.param("sha1  " + _base64(SHA1), id="two spaces"),
        pytest.param("sha1 " + _base64(SHA1) + " ", id="something behind"),
        pytest.param("sha1 " + _base64(SHA1)[:-1], id="padding dropped"),
        pytest.param("sha1 " + _base64(SHA1) + "====", id="padding doubled"),
        pytest.param("sha1 " + _base64(SHA1)[:-2] + "1=", id="bits that mean nothing"),
        pytest.param("sha1 " + _base64(b"\xfb" * 20).replace("+", "-"), id="the alphabet of URLs"),
        pytest.param("sha1 " + _base64(SHA1) + "\n", id="a line end"),
        pytest.param("sha1 ü", id="no ASCII"),
        pytest.param("sha1 \udcff", id="no text"),
        pytest.param("sha1 " + _base64(SHA1[:-1]), id="a byte too few"),
        pytest.param("sha1 " + _base64(SHA1 + b"0"), id="a byte too many"),
        pytest.param("sha256 " + _base64(SHA1), id="of another algorithm"),
        pytest.param("sha1 " + SHA1.hex(), id="hexadecimal without Base64"),
        pytest.param("sha1 " + _base64(WHOLE_FILE[:-1] + b"g"), id="nearly hexadecimal"),
        pytest.param("sha256 " + _base64(WHOLE_FILE), id="hexadecimal of another algorithm"),
        pytest.param("sha1 " + _base64(SHA1) + ",md5 AAAA", id="two of them"),
    ],
)
def test_a_malformed_checksum_is_refused(text: str) -> None:
    with pytest.raises(InvalidHeader, match="Upload-Checksum"):
        fields.parse_checksum(text)


@pytest.mark.parametrize("algorithm", Algorithm)
@pytest.mark.parametrize("spell", [str, str.upper], ids=["lower case", "upper case"])
def test_the_hexadecimal_digest_of_one_client_is_recognised(
    algorithm: Algorithm, spell: type[str]
) -> None:
    """tusc: the Base64 of the hexadecimal digest. None of them has the size of a checksum."""
    text = spell((b"\xa5" * algorithm.size_bytes).hex())
    assert fields.parse_checksum(f"{algorithm} {_base64(text.encode())}") is None


@given(st.lists(st.sampled_from(Algorithm), unique=True), st.data())
def test_all_digests_of_a_field_are_read_in_their_order(
    algorithms: list[Algorithm], data: st.DataObject
) -> None:
    digests = [
        Digest(one, data.draw(st.binary(min_size=one.size_bytes, max_size=one.size_bytes)))
        for one in algorithms
    ]
    lines = [fields.build_repr_digest([digest]) for digest in digests]
    assert fields.parse_digests("Repr-Digest", lines) == tuple(digests)
    if digests:
        assert fields.build_repr_digest(digests) == ", ".join(lines)


def test_the_examples_of_rfc_9530_are_read() -> None:
    """RFC 9530, B.1: the digests of ``{"hello": "world"}`` and a line feed."""
    text = b'{"hello": "world"}\n'
    line = "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:"
    assert fields.parse_digests("Content-Digest", [line]) == (
        Digest(Algorithm.SHA256, hashlib.sha256(text).digest()),
    )
    assert fields.build_repr_digest(fields.parse_digests("Repr-Digest", [line])) == line


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param([], id="absent"),
        pytest.param([""], id="without members"),
        pytest.param(["unixsum=:AAA=:, sha-1=:AA==:, id-sha-256=:AA==:"], id="unknown algorithms"),
        pytest.param(['other="text", more=(1 2);q=3, flag'], id="unknown keys of any type"),
    ],
)
def test_unknown_algorithms_of_a_digest_field_are_ignored(lines: list[str]) -> None:
    """RFC 9530, 2."""
    assert fields.parse_digests("Content-Digest", lines) == ()


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("md5=:AA==:", id="too short"),
        pytest.param("crc32c=:AAAAAAA=:", id="too long"),
        pytest.param("sha-256=RK", id="a Token"),
        pytest.param("md5=?1", id="a Boolean"),
        pytest.param("md5", id="no value"),
        pytest.param("crc32c=(:AAAAAA==:)", id="an Inner List"),
        pytest.param("md5=", id="no Dictionary"),
        pytest.param("sha-256=RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=", id="without colons"),
        pytest.param("unknown=:AA==:, ???", id="no Dictionary behind unknown algorithms"),
    ],
)
def test_a_digest_that_could_never_be_verified_is_refused(line: str) -> None:
    with pytest.raises(InvalidHeader, match="Content-Digest") as caught:
        fields.parse_digests("Content-Digest", [line])
    assert caught.value.name == "Content-Digest"


@pytest.mark.parametrize(
    ("lines", "wanted"),
    [
        ([], ()),
        ([""], ()),
        (["sha-256=1"], (Algorithm.SHA256,)),
        # RFC 9530, 4
        (["sha-512=3, sha-256=10, unixsum=0"], (Algorithm.SHA256, Algorithm.SHA512)),
        (["md5=0, sha=0, crc32c=10"], (Algorithm.CRC32C,)),
        (["md5=5", "crc32c=5, sha=7"], (Algorithm.SHA1, Algorithm.MD5, Algorithm.CRC32C)),
        (["sha-256=1, sha-256=0"], ()),
        (["md5=11, sha=-1, crc32c, sha-256=1.5, sha-512=(1)"], ()),
        (["sha-256=1, ???"], ()),
        (["sha-256"], ()),
    ],
)
def test_what_is_wanted_most_comes_first_and_nothing_unclear_is_wanted(
    lines: list[str], wanted: tuple[Algorithm, ...]
) -> None:
    assert fields.parse_wanted(lines) == wanted


def test_every_algorithm_has_a_name_in_the_registry_of_http() -> None:
    assert set(fields.HTTP_NAMES) == set(Algorithm)
    assert len(set(fields.HTTP_NAMES.values())) == len(Algorithm)
