"""Whole requests of every protocol, with fields lost, doubled, damaged and taken from others."""

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from tests.fuzz.parsers import AN_ID
from tests.fuzz.texts import damage, dice
from tests.unit.protocol.rig import ID, an_upload, terms
from tusd_py.core.commands import AppendBytes, CreateUpload
from tusd_py.core.errors import UploadError
from tusd_py.core.rules import MAX_LENGTH
from tusd_py.core.upload import Upload
from tusd_py.protocol import headers as h
from tusd_py.protocol import oneshot
from tusd_py.protocol.answers import Answer
from tusd_py.protocol.base import Asked, Terms, Translator
from tusd_py.protocol.recognise import Translators
from tusd_py.web.forwarded import PublicAddress

pytestmark = pytest.mark.fuzz

Line = tuple[str, str]

PART: Final = f"http://a.example/files/{AN_ID}"
FOREIGN: Final = f"final;http://\udcff/files/{AN_ID} http://ü/files/{AN_ID}"
"""Its addresses are found, whatever their host; and a byte of it is no UTF-8."""
VALUES: Final[dict[str, tuple[str, ...]]] = {
    h.TUS_RESUMABLE: ("1.0.0", "0.2.2"),
    h.CONTENT_TYPE: (
        *(h.OFFSET_OCTET_STREAM, h.PARTIAL_UPLOAD, "video/mp4", "text/plain; charset=utf-8"),
        "multipart/form-data; boundary=x",
    ),
    h.UPLOAD_OFFSET: ("0", "7", "9223372036854775808"),
    h.UPLOAD_LENGTH: ("0", "10", "999999999999999", "9223372036854775807"),
    h.UPLOAD_DEFER_LENGTH: ("1",),
    h.UPLOAD_METADATA: ("filename Y2xpcC5tcDQ=,token YS5iLmM=", ""),
    h.UPLOAD_CHECKSUM: (
        *("sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=", "crc32c AAAAAA=="),
        "sha1 YWFmNGM2MWRkY2M1ZThhMmRhYmVkZTBmM2I0ODJjZDlhZWE5NDM0ZA==",
    ),
    h.UPLOAD_CONCAT: (
        *("partial", f"final;{PART} /files/{AN_ID}", f"final;{AN_ID}"),
        FOREIGN,
    ),
    h.TRAILER: (h.UPLOAD_CHECKSUM, f"{h.CONTENT_DIGEST}, X"),
    h.UPLOAD_COMPLETE: ("?1", "?0"),
    h.UPLOAD_INCOMPLETE: ("?1", "?0"),
    h.UPLOAD_DRAFT_INTEROP_VERSION: ("3", "4", "5", "6", "7", "8", "9"),
    h.CONTENT_DIGEST: ("md5=:1B2M2Y8AsgTpgAmy7PhCfg==:, crc32c=:AAAAAA==:", "unixsum=:AA==:"),
    h.REPR_DIGEST: ("sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:",),
    h.WANT_REPR_DIGEST: ("sha-256=10, sha=3", "md5=0"),
    h.CONTENT_DISPOSITION: (
        *('attachment; filename="clip.mp4"', "inline; filename*=utf-8''%e2%82%ac.mp4"),
        'form-data; name="file"; filename="a\\"b"',
    ),
    h.CONTENT_ENCODING: ("gzip", "identity", "br, gzip"),
    h.CONTENT_RANGE: ("bytes 0-9/10",),
    h.ORIGIN: ("http://a.example", "null"),
    h.HOST: ("a.example", "a.example:8080"),
}
"""Values of all fields that a translator looks at."""
TEMPLATES: Final[tuple[tuple[str, tuple[Line, ...]], ...]] = (
    (
        "POST",
        ((h.TUS_RESUMABLE, "1.0.0"), (h.UPLOAD_LENGTH, "10"), (h.UPLOAD_METADATA, "filename YQ==")),
    ),
    (
        "PATCH",
        (
            (h.TUS_RESUMABLE, "1.0.0"),
            (h.CONTENT_TYPE, h.OFFSET_OCTET_STREAM),
            (h.UPLOAD_OFFSET, "4"),
            (h.UPLOAD_CHECKSUM, "crc32c AAAAAA=="),
        ),
    ),
    (
        "PATCH",
        (
            (h.TUS_RESUMABLE, "1.0.0"),
            (h.CONTENT_TYPE, h.OFFSET_OCTET_STREAM),
            (h.UPLOAD_OFFSET, "4"),
            (h.TRAILER, h.UPLOAD_CHECKSUM),
        ),
    ),
    ("POST", ((h.TUS_RESUMABLE, "1.0.0"), (h.UPLOAD_CONCAT, f"final;{PART} {PART}"))),
    ("POST", ((h.TUS_RESUMABLE, "1.0.0"), (h.UPLOAD_CONCAT, FOREIGN))),
    (
        "POST",
        (
            (h.UPLOAD_COMPLETE, "?0"),
            (h.UPLOAD_DRAFT_INTEROP_VERSION, "8"),
            (h.CONTENT_TYPE, "video/mp4"),
            (h.CONTENT_DISPOSITION, 'attachment; filename="clip.mp4"'),
        ),
    ),
    (
        "PATCH",
        (
            (h.UPLOAD_COMPLETE, "?1"),
            (h.UPLOAD_OFFSET, "4"),
            (h.CONTENT_TYPE, h.PARTIAL_UPLOAD),
            (h.TRAILER, h.CONTENT_DIGEST),
        ),
    ),
    (
        "PATCH",
        (
            (h.UPLOAD_INCOMPLETE, "?1"),
            (h.UPLOAD_DRAFT_INTEROP_VERSION, "3"),
            (h.UPLOAD_OFFSET, "4"),
        ),
    ),
    ("PUT", ((h.CONTENT_TYPE, "video/mp4"), (h.CONTENT_DIGEST, "crc32c=:AAAAAA==:"))),
    ("POST", ((h.CONTENT_TYPE, "multipart/form-data; boundary=x"), (h.HOST, "a.example"))),
    ("HEAD", ((h.TUS_RESUMABLE, "1.0.0"),)),
    ("DELETE", ((h.UPLOAD_DRAFT_INTEROP_VERSION, "6"),)),
    ("GET", ((h.WANT_REPR_DIGEST, "sha-256=1"),)),
)
"""One well-formed request of each kind."""
SIZES: Final = (None, 0, 1, 6, MAX_LENGTH)
METHODS: Final = ("POST", "PUT", "PATCH", "HEAD", "GET", "DELETE")
# What no field of HTTP/1.1 can have: a reader of requests ends there or refuses.
_NEVER_SENT: Final = str.maketrans(dict.fromkeys("\r\n\x00", " "))


def _line(rng: Random) -> Line:
    name = rng.choice(list(VALUES))
    return name, rng.choice(VALUES[name])


def _damaged(rng: Random, line: Line) -> Line:
    name, value = line
    if rng.random() < 0.3:
        value = damage(rng, (value, value, *VALUES[name]))
    return name, value.translate(_NEVER_SENT).strip(" \t")


def _fields(rng: Random, lines: list[Line]) -> CIMultiDict[str]:
    for _ in range(rng.randrange(3)):
        if lines and rng.random() < 0.3:
            lines.pop(rng.randrange(len(lines)))
        else:
            lines.insert(rng.randrange(len(lines) + 1), _line(rng))
    return CIMultiDict(_damaged(rng, line) for line in lines)


def _ask(rng: Random) -> Asked:
    method, lines = rng.choice(TEMPLATES)
    trailers = _fields(rng, [])
    if rng.random() < 0.5:
        trailers.add(h.UPLOAD_CHECKSUM, rng.choice(VALUES[h.UPLOAD_CHECKSUM]))
    return Asked(
        method=method if rng.random() < 0.8 else rng.choice(METHODS),
        fields=_fields(rng, list(lines)),
        announced_bytes=rng.choice(SIZES),
        trailers=lambda: trailers,
        remark=lambda event: None,
        can_hear_interim=rng.random() < 0.8,
    )


REQUESTS: Final = st.builds(_ask, dice())
TERMS: Final[Terms] = terms(max_metadata_bytes=4096, locate=PublicAddress("/files/", None, ()).find)
TRANSLATORS: Final = Translators(TERMS)


def _parse(translator: Translator, asked: Asked, *, at_upload: bool) -> object:
    translator.check(asked)
    match asked.method:
        case "PATCH":
            return translator.parse_append(asked, ID)
        case "POST" | "PUT":
            return translator.parse_create(asked)
        case "DELETE":
            return translator.parse_terminate(asked, ID)
        case _:
            return translator.parse_read(asked, ID)


def _after(command: object) -> Upload:
    """The upload as it may stand once that was carried out."""
    upload = an_upload()
    match command:
        case CreateUpload():
            return replace(
                upload,
                length=command.length,
                offset=0,
                metadata=command.metadata.without(["token"]),
                kind=command.kind,
                parts=command.parts,
                concat=command.concat,
                protocol=command.protocol,
            )
        case AppendBytes():
            return replace(upload, length=command.declared_length, offset=min(command.offset, 10))
        case _:
            return upload


def _check_command(command: object) -> None:
    match command:
        case CreateUpload():
            assert command.length is None or command.length >= 0
            command.metadata.values()
            assert all(part == AN_ID for part in command.parts)
        case AppendBytes():
            assert command.offset >= 0
            assert command.declared_length is None or command.declared_length >= 0
        case _:
            return
    if command.promise is not None:
        assert not command.promise.is_empty
        if command.promise.trailer is not None:
            assert all(
                len(one.value) == one.algorithm.size_bytes for one in command.promise.trailer()
            )


def _check_answer(answer: Answer) -> None:
    assert 100 <= answer.status <= 599
    for name, value in answer.headers:
        # One line of text that a socket takes: what a client wrote never becomes another.
        assert value.encode("utf-8"), name
        assert not set(value) & set("\r\n\x00"), name


@given(asked=REQUESTS, at_upload=st.booleans())
def test_a_request_becomes_a_command_and_an_answer_or_a_refusal(
    asked: Asked, at_upload: bool
) -> None:
    """SEC-ALIVE, SEC-INJECT: nothing but UploadError escapes, and no answer is broken by what is
    repeated in it."""
    translator = TRANSLATORS.choose(asked, at_upload=at_upload)
    try:
        command = _parse(translator, asked, at_upload=at_upload)
        _check_command(command)
    except UploadError as error:
        _check_answer(translator.build_error(error, method=asked.method, request_id="r"))
        return
    upload = _after(command)
    location = f"/files/{ID}"
    builders: list[Callable[[], Answer | None]] = [
        lambda: translator.build_created(asked, upload, location),
        lambda: translator.build_appended(asked, upload),
        lambda: translator.build_offset(asked, upload),
        lambda: translator.build_terminated(asked),
        lambda: translator.build_early(asked, upload, location),
        lambda: translator.build_progress(asked, upload),
    ]
    for build in builders:
        try:
            answer = build()
        except UploadError:
            continue  # an outcome that this protocol has to call a refusal
        if answer is not None:
            _check_answer(answer)


TAILS: Final = st.sampled_from(["", "clip.mp4", AN_ID, "a%2fb", "%e2%82%ac", "..", "%00", "a/b"])


@given(asked=REQUESTS, tail=TAILS | st.text(st.characters(exclude_categories=()), max_size=20))
def test_a_one_shot_request_becomes_a_command_or_a_refusal(asked: Asked, tail: str) -> None:
    """SEC-ALIVE, SEC-PATH."""
    shape = oneshot.recognise(asked, tail)
    try:
        oneshot.check_origin(asked.fields, ("http://b.example",))
        command = oneshot.parse_raw(asked, tail, max_metadata_bytes=4096)
    except UploadError as error:
        stored = oneshot.Stored(an_upload(), f"/files/{ID}")
        _check_answer(oneshot.build_failure(error, [], stored, request_id="r", refusal_status=None))
        return
    _check_command(command)
    name = command.metadata.text("filename")
    if name is not None and not asked.fields.getall(h.UPLOAD_METADATA, []):
        assert name not in ("", ".", "..") and not set(name) & set("/\\\x00\n")
    if shape is oneshot.Shape.RAW:
        _check_answer(
            oneshot.build_stored([oneshot.Stored(_after(command), f"/files/{ID}")], shape)
        )


def test_most_kinds_of_requests_are_met() -> None:
    """Both outcomes of each protocol, or the test above would show nothing of them."""
    met: set[tuple[str, str, bool]] = set()
    rng = Random(1)
    for _ in range(3000):
        asked = _ask(rng)
        translator = TRANSLATORS.choose(asked, at_upload=True)
        try:
            command = _parse(translator, asked, at_upload=True)
            met.add((translator.name, type(command).__name__, True))
        except UploadError:
            met.add((translator.name, asked.method, False))
    for protocol in ("tus1", "rufh"):
        for command in ("CreateUpload", "AppendBytes", "ReadOffset", "Terminate"):
            assert (protocol, command, True) in met
        assert {(protocol, "POST", False), (protocol, "PATCH", False)} <= met
    assert ("either", "ReadOffset", True) in met
