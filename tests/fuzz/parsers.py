"""Every parser of one field's value, with what it may raise and values that it takes.

A new parser gets its row here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from multidict import CIMultiDict

from tusd_py.core import metadata
from tusd_py.core.errors import (
    ChecksumUnsupported,
    FormInvalid,
    HeadersTooLarge,
    InvalidHeader,
    InvalidMetadata,
    NotFound,
    RangeUnsatisfiable,
)
from tusd_py.core.ids import parse_upload_id
from tusd_py.protocol import digest_fields, oneshot, ranges, representation, structured
from tusd_py.protocol import headers as h
from tusd_py.protocol.structured import StructuredFieldError
from tusd_py.web.form_parts import parse_boundary
from tusd_py.web.forwarded import PublicAddress
from tusd_py.web.request_id import choose_request_id

AN_ID: Final = "0123456789abcdef0123456789abcdef"
NUMBERS: Final = (
    "0",
    "17",
    "0017",
    "999999999999999",
    "9223372036854775807",
    "9223372036854775808",
)
METADATA: Final = (
    "filename Y2xpcC5tcDQ=,filetype dmlkZW8vbXA0",
    "is_confidential",
    "video_id MTU=, client_id Nw== ,token ZXlK.LmUuYw==",
)
ITEMS: Final = (
    *("?1", "?0", "42", "-17.125", '"a \\"text\\""', "a/token;q=1;w", ":aGVsbG8=:", "@1659578233"),
    '%"f%c3%bcr"',
)
DIGEST: Final = "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:"
DICTIONARIES: Final = (
    *("max-size=1000, min-size=0", "a, b;x=1, c=?0", "a=(1 2 ();q), b=()", DIGEST, "a=1,a=2"),
    "md5=:1B2M2Y8AsgTpgAmy7PhCfg==:, crc32c=:AAAAAA==:",
)
CHECKSUMS: Final = (
    "sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=",
    "crc32c AAAAAA==",
    "sha1 YWFmNGM2MWRkY2M1ZThhMmRhYmVkZTBmM2I0ODJjZDlhZWE5NDM0ZA==",
    "sha3 AAAA",
)
HOSTS: Final = ("example.com", "example.com:8080", "[2001:db8::1]:80", "192.0.2.1")
FORWARDED: Final = (
    'for=192.0.2.60;proto=https;host="example.com:80"',
    "for=_a, for=_b; Proto=http ;HOST=example.com",
)
MEDIA_TYPES: Final = (
    *(h.OFFSET_OCTET_STREAM, 'text/plain; charset="utf-8"', "application/x-www-form-urlencoded"),
    'multipart/form-data; boundary="a b"; charset=utf-8',
)
DISPOSITIONS: Final = (
    "attachment; filename=\"clip.mp4\"; filename*=UTF-8'en'%e2%82%ac.mp4",
    'form-data; name="file"; filename="a\\"b\\\\c"',
    "inline; filename=a.b ; x",
)
DATES: Final = (
    *("Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT"),
    "Sun Nov  6 08:49:37 1994",
)
TAGS: Final = ('"a"', 'W/"a", "b"', "*")


@dataclass(frozen=True, slots=True)
class Parser:
    """One function that reads what a client wrote."""

    parse: Callable[[str], object]
    seeds: tuple[str, ...]
    raises: tuple[type[Exception], ...] = ()


def _metadata_texts(wire: str) -> None:
    read = metadata.Metadata(wire).without(["token"])
    for key in read.values():
        read.text(key)


_BEHIND_PROXY: Final = PublicAddress("/files/", None, ("192.0.2.0/24",))
_PROXY: Final = ("192.0.2.1", 4711)


def _location(name: str) -> Callable[[str], object]:
    """The address of an upload where ``name`` has this value; checked to be one line of an URL."""

    def parse(text: str) -> None:
        fields = CIMultiDict([(h.HOST, "a.example"), (name, text)])
        if name == h.HOST:
            fields = CIMultiDict([(name, text)])
        told = _BEHIND_PROXY.location(AN_ID, fields, _PROXY, scheme="http")
        assert told.endswith(f"/files/{AN_ID}")
        assert told.isascii() and told.isprintable() and " " not in told

    return parse


def _representation(name: str) -> Callable[[str], object]:
    return lambda text: representation.parse_representation(CIMultiDict({name: text})).values()


_CURRENT: Final = ranges.Validators('"a"', 784111777)


def _condition(name: str) -> Callable[[str], object]:
    return lambda text: ranges.judge(CIMultiDict({name: text}), _CURRENT)


def _range(name: str) -> Callable[[str], object]:
    def parse(text: str) -> None:
        fields = CIMultiDict({h.RANGE: "bytes=1-2", name: text})
        found = ranges.choose_range(fields, _CURRENT, length=10)
        assert found is None or 0 <= found.first <= found.last < 10

    return parse


def _located(url: str) -> None:
    found = _BEHIND_PROXY.find(url)
    assert found is None or parse_upload_id(found) == found


PARSERS: Final[dict[str, Parser]] = {
    "a number of bytes": Parser(
        lambda text: h.parse_bytes(h.UPLOAD_OFFSET, text), NUMBERS, (InvalidHeader,)
    ),
    "a deferred length": Parser(h.parse_defer_length, ("1", "0"), (InvalidHeader,)),
    "one field of several lines": Parser(
        lambda text: h.single(CIMultiDict((h.UPLOAD_OFFSET, one) for one in text.split(",")), "x"),
        ("1,1", "1, 1", "1,2"),
        (InvalidHeader,),
    ),
    "metadata": Parser(
        lambda text: h.parse_metadata([text], max_bytes=1 << 20),
        METADATA,
        (InvalidMetadata, HeadersTooLarge),
    ),
    "metadata on several lines, bounded": Parser(
        lambda text: h.parse_metadata(text.split("\n"), max_bytes=100),
        (*METADATA, "filename YQ==\nfilename YQ==,a Yg=="),
        (InvalidMetadata, HeadersTooLarge),
    ),
    "pairs of metadata": Parser(metadata.parse_pairs, METADATA, (InvalidMetadata,)),
    "texts of metadata": Parser(_metadata_texts, METADATA, (InvalidMetadata,)),
    "a media type": Parser(h.parse_media_type, MEDIA_TYPES),
    "a bearer token": Parser(h.parse_bearer, ("Bearer a.b.c", "bearer  x ", "Basic Og==")),
    "an upload's id": Parser(parse_upload_id, (AN_ID,)),
    "a request's id": Parser(choose_request_id, ("a-B.0_9", AN_ID)),
    "a host": Parser(_location(h.HOST), HOSTS),
    "a forwarded host": Parser(_location(h.X_FORWARDED_HOST), HOSTS),
    "a forwarded scheme": Parser(_location(h.X_FORWARDED_PROTO), ("https", "http, https")),
    "a forwarded entry": Parser(_location(h.FORWARDED), FORWARDED),
    "a structured Item": Parser(
        lambda text: structured.parse_item([text]), ITEMS, (StructuredFieldError,)
    ),
    "a structured Dictionary": Parser(
        lambda text: structured.parse_dictionary([text]),
        (*DICTIONARIES, *ITEMS),
        (StructuredFieldError,),
    ),
    "a structured Dictionary of several lines": Parser(
        lambda text: structured.parse_dictionary(text.split("\n")),
        (*DICTIONARIES, "a=1\nb=2"),
        (StructuredFieldError,),
    ),
    "a Boolean or nothing": Parser(lambda text: structured.parse_boolean_item([text]), ITEMS),
    "an Integer or nothing": Parser(
        lambda text: structured.parse_integer_item([text]), (*ITEMS, *NUMBERS)
    ),
    "a checksum of tus": Parser(
        digest_fields.parse_checksum, CHECKSUMS, (InvalidHeader, ChecksumUnsupported)
    ),
    "digests": Parser(
        lambda text: digest_fields.parse_digests(h.CONTENT_DIGEST, [text]),
        DICTIONARIES,
        (InvalidHeader,),
    ),
    "wanted digests": Parser(
        lambda text: digest_fields.parse_wanted([text]),
        ("sha-256=10, sha=3, md5=0", *DICTIONARIES),
    ),
    "a list of trailers": Parser(
        lambda text: h.announces_trailer(CIMultiDict({h.TRAILER: text}), h.UPLOAD_CHECKSUM),
        ("Upload-Checksum", "x, upload-checksum"),
    ),
    "a type of a file": Parser(_representation(h.CONTENT_TYPE), MEDIA_TYPES),
    "a coding of a file": Parser(_representation(h.CONTENT_ENCODING), ("gzip", "br, gzip")),
    "a disposition of a file": Parser(_representation(h.CONTENT_DISPOSITION), DISPOSITIONS),
    "a name in a path": Parser(
        oneshot.parse_name, ("clip.mp4", "%e2%82%ac%20a", "..%2fa", "a;b"), (NotFound,)
    ),
    "a boundary": Parser(parse_boundary, MEDIA_TYPES, (FormInvalid,)),
    "an upload's address": Parser(
        _located,
        (
            f"http://a.example:1/files/{AN_ID}",
            f"/files/{AN_ID}",
            AN_ID,
            f"//[::1]/files/{AN_ID}?a#b",
        ),
    ),
    "a range": Parser(
        _range(h.RANGE), ("bytes=0-4", "bytes=-5", "bytes = 3- , ", "a=0-1"), (RangeUnsatisfiable,)
    ),
    "a range under a condition": Parser(_range(h.IF_RANGE), (*TAGS, *DATES)),
    "tags that must match": Parser(_condition(h.IF_MATCH), TAGS),
    "tags that must not match": Parser(_condition(h.IF_NONE_MATCH), TAGS),
    "a date since which": Parser(_condition(h.IF_MODIFIED_SINCE), DATES),
    "a date until which": Parser(_condition(h.IF_UNMODIFIED_SINCE), DATES),
}
