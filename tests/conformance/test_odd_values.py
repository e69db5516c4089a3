"""Odd values: ways to a parent, ends of lines, numbers; none of them gets anywhere.

What stands elsewhere already: odd ids, Hosts, names of files and Forwarded (``test_security``), odd
Origins (``test_browsers``), numbers that are none (``test_core``, ``test_creation``) and lengths
from 2^31 to 10^400 (``test_creation``), malformed heads (``test_http``).
"""

import re

import pytest

from tests.conformance.test_odd_wire import OVERRIDE, creation
from tests.conformance.test_security import snapshot
from tests.conformance.uploads import (
    METADATA,
    PATCH,
    id_of,
    new_upload,
    offset_of,
    raw,
    refusal,
    stored_files,
)
from tests.support import tus
from tests.support.server import Server
from tests.support.wire import Response, connected, path_of, request

NUL_CR_LF = ["\r\nX-Evil: 1", "\nX-Evil: 1", "\rX-Evil: 1", "\0", "\r\n X-Evil: 1", "\x0b", "\x7f"]

# ------------------------------------------------------------------ ways to a parent

TRAVERSAL = {
    "overlong UTF-8": "%c0%ae%c0%ae%c0%af",
    "longer UTF-8": "%e0%80%ae%e0%80%ae%e0%80%af",
    "overlong UTF-8 with a slash": "%c0%ae%c0%ae/",
    "full-width dots": "%ef%bc%8e%ef%bc%8e%ef%bc%8f",
    "dots and a slash": "../",
    "encoded dots and a slash": "%2e%2e/",
    "one encoded dot": ".%2e/",
    "dots and an encoded slash": "..%2f",
    "all of it encoded": "%2e%2e%2f",
    "capitals": "%2E%2E%2F",
    "encoded twice": "%252e%252e%252f",
    "encoded thrice": "%25252e%25252e%25252f",
    "half encoded twice": "..%252f",
    "a backslash": "..\\",
    "an encoded backslash": "..%5c",
    "a backslash encoded twice": "..%255c",
    "as IIS reads it": "%u002e%u002e%u2215",
    "a path parameter": "..;/",
    "an encoded path parameter": "..%3b/",
    "NUL behind the dots": "..%00/",
    "a tab between the dots": ".%09./",
    "a line end between the dots": ".%0d%0a./",
    "many dots": "..../",
    "dots doubled": "....//",
    "a dot": "./",
}


@pytest.mark.parametrize("up", TRAVERSAL.values(), ids=TRAVERSAL)
async def test_no_spelling_of_a_parent_leads_anywhere(small_server: Server, up: str) -> None:
    """SEC-PATH, HTTP-ABSOLUTE, TUS-CORE-18: into another place of the server, a file beside the
    store, or an upload by another way; in a path and in a whole URL."""
    url = await new_upload(small_server, data=b"12345")
    real = id_of(url)
    before = snapshot(small_server.directory)
    tails = [
        up + "health/live",
        up + "upload/" + real,
        real + "/" + up + real,
        up * 8 + "etc/passwd",
    ]
    tails += [up + "state.db", f"{up}uploads/{real[:3]}/{real}.bin", real + "/" + up]
    async with connected(small_server.base) as wire:
        for tail in tails:
            for begin in ("/upload/", f"http://{wire.netloc}/upload/"):
                for method in ("HEAD", "DELETE", "PATCH"):
                    headers = (
                        PATCH
                        | {"Authorization": f"Bearer {small_server.mint()}"}
                        | {"Upload-Offset": "5"}
                    )
                    lines = [f"{name}: {value}" for name, value in headers.items()]
                    lines.insert(0, f"{method} {begin}{tail} HTTP/1.1")
                    answer = await raw(wire, *lines, f"Host: {wire.netloc}", method=method)
                    assert answer.status == 404, (method, tail, answer.status)
    assert snapshot(small_server.directory) == before
    assert await offset_of(url) == 5


@pytest.mark.parametrize(
    "up", [b"\xc0\xae\xc0\xae\xc0\xaf", b"\xef\xbc\x8e\xef\xbc\x8e/", b"..\0/"]
)
async def test_no_bytes_of_a_parent_lead_anywhere(small_server: Server, up: bytes) -> None:
    """SEC-PATH, HTTP-GARBAGE: bytes that may stand in no target, as they are."""
    url = await new_upload(small_server, data=b"12345")
    target = b"/upload/" + up + b"upload/" + id_of(url).encode()
    async with connected(url) as wire:
        line = b"DELETE " + target + b" HTTP/1.1"
        answer = await raw(wire, line, "Host: x", "Tus-Resumable: 1.0.0", method="DELETE")
        assert answer.status in (400, 404)
    assert await offset_of(url) == 5


# ------------------------------------------------------------------ injection

FIELDS = [
    *("X-Request-ID", "Origin", "Upload-Metadata", "Upload-Offset", "Upload-Length", "Expect"),
    *("Tus-Resumable", "Content-Type", "Authorization", "X-Forwarded-Host", "Forwarded", "Host"),
    *("Access-Control-Request-Headers", OVERRIDE, "Upload-Checksum", "Connection", "A"),
]


@pytest.mark.parametrize("field", FIELDS)
async def test_no_field_ends_a_line_of_the_answer(server: Server, field: str) -> None:
    """SEC-INJECT, HTTP-FIELDS, CORS-REFLECT, CORS-ANSWER: CR, LF, NUL and other control characters
    in a value, as they are: refused, or a line of the request, never one of the answer."""
    url = await new_upload(server)
    for evil in NUL_CR_LF:
        async with connected(url) as wire:
            lines = [] if field == "Host" else ["Host: x"]
            lines += [] if field == "Tus-Resumable" else ["Tus-Resumable: 1.0.0"]
            answer = await raw(
                wire, f"HEAD {path_of(url)} HTTP/1.1", *lines, f"{field}: a{evil}", method="HEAD"
            )
        assert "X-Evil" not in answer.headers
        assert answer.status in (200, 400, 412, 423), (evil, answer.status)
        if evil != "\r\nX-Evil: 1":  # which is a well-formed line of its own
            assert answer.status == 400, evil


@pytest.mark.parametrize(
    "evil", ["%0d%0aX-Evil:%201", "%0aX-Evil:%201", "%00", "%250d%250aX-Evil:1"]
)
async def test_no_target_ends_a_line_of_the_answer(server: Server, evil: str) -> None:
    """SEC-INJECT, SEC-PATH: encoded line ends in paths and queries stay encoded, or are unknown."""
    for target in ("/upload/" + evil, f"/{evil}/upload/", f"/upload/?{evil}", f"/upload/#{evil}"):
        headers = creation(server) | {"Upload-Length": "1"}
        answer = await request("POST", target_of(server, target), headers)
        assert answer.status in (201, 400, 404, 405), (target, answer.status)
        assert "X-Evil" not in answer.headers and "X-Evil" not in answer.text
        if answer.status == 201:
            assert re.fullmatch(re.escape(server.endpoint) + "[0-9a-f]{32}", answer.location)


def target_of(server: Server, target: str) -> str:
    return server.base.rstrip("/") + target


@pytest.mark.parametrize(
    "evil", ["\r\nX-Evil: 1", "\n\nX-Evil: 1", "\0", "é\r\n", "\u2028X-Evil: 1"]
)
async def test_no_metadata_end_a_line_of_the_answer(server: Server, evil: str) -> None:
    """SEC-INJECT, TUS-CRE-06, TUS-CRE-10: in a file's name, its type, and the ids that refusals
    name in their sentences."""
    named = METADATA | {"filename": "a" + evil, "filetype": "text/plain" + evil}
    made = await tus.create(server.endpoint, length=1, metadata=named, bearer=server.mint())
    assert made.status == 201
    head = await tus.head(made.location)
    assert head.headers["Upload-Metadata"] == tus.encode_metadata(named)
    for key in ("video_id", "client_id"):
        wrong = METADATA | {key: "1" + evil}
        answer = await tus.create(server.endpoint, length=1, metadata=wrong, bearer=server.mint())
        assert "X-Evil" not in answer.headers and 400 <= answer.status < 500
        assert "\n" not in refusal(answer, answer.status, answer_code(answer))


def answer_code(answer: Response) -> str:
    found = re.search(r'"code": "(ERR_[A-Z_]+)"', answer.text)
    assert found is not None
    return found[1]


@pytest.mark.parametrize(
    "offered", ["a b", "a" * 129, "é", "a;b", '"', "%0d%0a", "<a>", "../a", ""]
)
async def test_odd_request_ids_are_replaced(server: Server, offered: str) -> None:
    """SEC-INJECT: in the answer and in the log stands one of ours."""
    answer = await request("OPTIONS", server.endpoint, {"X-Request-ID": offered})
    assert re.fullmatch(r"[0-9a-f]{24}", answer.headers["X-Request-ID"])


# ------------------------------------------------------------------ numbers


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize(
    ("text", "status"),
    [
        *((str(2**63 - 1), 413), (str(2**63), 413), (str(2**64), 413), (str(2**64 + 5), 413)),
        *(("1" + "0" * 400, 413), ("0" * 400 + "5", 0), ("-5", 400), ("+5", 400), ("5.0", 400)),
        *(
            ("0x5", 400),
            ("5e0", 400),
            ("5,0", 400),
            ("\u0665", 400),
            ("\uff15", 400),
            ("\u00b2", 400),
        ),
        *(("5 ", 0), ("5\u00a0", 400), ("5_0", 400), ("5L", 400), ("NaN", 400), ("Infinity", 400)),
        *(('"5"', 400), ("5;q=1", 400), ("?5", 400), (" ", 400)),
    ],
    ids=lambda value: ascii(value)[:24] if isinstance(value, str) else None,
)
async def test_lengths_of_every_kind(server: Server, text: str, status: int, late: bool) -> None:
    """TUS-CORE-03, TUS-CRE-07, TUS-CRE-11, TUS-DEF-06: a length told at once, and one told late:
    a whole number of ASCII digits, however long; too large is 413, anything else 400; nothing is
    made or changed by those."""
    value = text.encode().decode("latin-1")
    if late:
        url = await new_upload(server, length=None)
        answer = await request(
            "PATCH", url, [*PATCH.items(), ("Upload-Offset", "0"), ("Upload-Length", value)]
        )
        assert answer.status == (status or 204), answer.text
        assert (await tus.head(url)).length == (None if status else 5)
    else:
        before = stored_files(server)
        pairs = [*creation(server).items(), ("Upload-Length", value)]
        answer = await request("POST", server.endpoint, pairs)
        assert answer.status == (status or 201), answer.text
        if status:
            assert stored_files(server) == before
        else:
            assert (await tus.head(answer.location)).length == 5
