"""Hostile clients."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.conformance.conftest import MAX_BYTES, faultless
from tests.conformance.uploads import (
    METADATA,
    PATCH,
    TUS,
    id_of,
    listed_uploads,
    new_upload,
    offset_of,
    refusal,
    some_bytes,
    stored_bytes,
    stored_files,
)
from tests.support import tus
from tests.support.server import Server
from tests.support.wire import Hangup, WireError, connected, request

IDS = {
    "up": "../../etc/passwd",
    "up, encoded": "..%2f..%2fetc%2fpasswd",
    "up, encoded twice": "..%252f..%252fetc",
    "dots": "..",
    "a dot": ".",
    "encoded dots": "%2e%2e",
    "an encoded slash": "%2f",
    "backslashes": "..\\..\\x",
    "encoded backslashes": "..%5c..%5cx",
    "NUL": "%00",
    "an id and NUL": "GOOD%00",
    "an id and a suffix": "GOOD.facts",
    "an id and a slash": "GOOD/",
    "an id and a place": "GOOD/x",
    "an id and dots": "GOOD/../GOOD",
    "an id in capitals": "GOODUPPER",
    "an id and a newline": "GOOD%0a",
    "an id and a semicolon": "GOOD;x",
    "an encoded id": "ENCODED",
    "very long": "a" * 7000,
    "not ASCII": "%c3%a9",
    "not UTF-8": "%ff%fe",
    "broken encoding": "%zz%",
    "too short": "0" * 31,
    "too long": "0" * 33,
    "slashes": "//////",
    "absolute": "/etc/passwd",
    "the state": "..%2f..%2fstate.db",
    "a template": "{upload_id}",
    "a glob": "*",
    "SQL": "'%20or%201=1--",
}


def snapshot(root: Path) -> dict[str, int]:
    """Every file that is not the state's, the log's or the server's set-up, with its size."""
    return {
        str(path): path.stat().st_size
        for path in root.rglob("*")
        if path.is_file() and "state.db" not in str(path)
    }


@pytest.mark.parametrize("name", IDS.values(), ids=IDS)
async def test_odd_ids_reach_nothing(small_server: Server, name: str) -> None:
    """SEC-PATH, TUS-CORE-18, TUS-CORE-29, TUS-TRM-04: 404 for every method, no file is made,
    changed or removed anywhere, and the real upload stays."""
    url = await new_upload(small_server, length=10, data=b"12345")
    real = id_of(url)
    encoded = "".join(f"%{ord(c):02x}" for c in real)
    name = name.replace("GOODUPPER", real.upper()).replace("GOOD", real)
    target = "/upload/" + name.replace("ENCODED", encoded)
    before = snapshot(small_server.directory)
    async with connected(small_server.base) as wire:
        for method in ("HEAD", "PATCH", "DELETE"):
            headers = PATCH | {"Upload-Offset": "5"}
            headers["Authorization"] = f"Bearer {small_server.mint()}"
            body = b"67890" if method == "PATCH" else None
            answer = await wire.request(method, target, headers, body)
            assert answer.status == 404, (method, answer.status, answer.text)
            assert "Upload-Offset" not in answer.headers
    assert snapshot(small_server.directory) == before
    assert await offset_of(url) == 5


async def test_odd_ids_that_are_no_http_reach_nothing(server: Server) -> None:
    """SEC-PATH, HTTP-FIELDS, HTTP-GARBAGE: bytes that may not stand in a target are refused or
    unknown, and the next request is served."""
    for target in (b"/upload/\0", b"/upload/\x7f", b"/upload/\xff\xfe", b"/upload/a\tb", b"\\x"):
        async with connected(server.base) as wire:
            wire.expect_answer("DELETE")
            await wire.send(b"DELETE " + target + b" HTTP/1.1\r\nHost: x\r\n")
            await wire.send(b"Tus-Resumable: 1.0.0\r\n\r\n")
            assert (await wire.read_response()).status in (400, 404)
    assert (await tus.options(server.endpoint)).status == 204


@pytest.mark.parametrize(
    "filename",
    [
        "../../../../tmp/evil",
        "/etc/passwd",
        "..",
        "a\0b",
        "a/b\\c",
        "x" * 3000,
        "con",
        "-rf",
        "é\n",
    ],
)
async def test_names_of_files_reach_nothing(small_server: Server, filename: str) -> None:
    """SEC-PATH, TUS-CRE-06: metadata are no path; the bytes lie under the upload's id."""
    before = set(snapshot(small_server.directory))
    metadata = METADATA | {"filename": filename, "path": filename, "id": filename}
    created = await tus.create(
        small_server.endpoint,
        length=5,
        metadata=metadata,
        bearer=small_server.mint(),
        body=b"hello",
    )
    assert created.status == 201, created.text
    made = set(snapshot(small_server.directory)) - before
    assert {Path(path).name for path in made} == {
        f"{id_of(created.location)}.bin",
        f"{id_of(created.location)}.facts",
    }
    assert stored_bytes(small_server, created.location) == b"hello"


async def test_addresses_cannot_be_guessed(server: Server) -> None:
    """SEC-ID, TUS-CORE-38: 128 random bits each; none resembles another."""
    ids = [id_of(await new_upload(server)) for _ in range(40)]
    assert all(re.fullmatch(r"[0-9a-f]{32}", one) for one in ids)
    for width in (8, 12):
        assert len({one[:width] for one in ids}) == len({one[-width:] for one in ids}) == 40
    ones = sum(bin(int(one, 16)).count("1") for one in ids)
    assert 2200 < ones < 2920  # 2560 expected, 36 the standard deviation


async def test_no_text_of_a_client_comes_back_as_a_page(server: Server) -> None:
    """SEC-XSS: of an error least of all. (What was uploaded: test_download.)"""
    token = "<script>alert(1)</script>"
    answer = await tus.create(server.endpoint, length=1, metadata=METADATA, bearer=token)
    refusal(answer, 401, "ERR_TOKEN_INVALID")


FORWARDED = [
    {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "up.example"},
    {"Forwarded": 'for=192.0.2.1;proto=https;host="up.example"'},
    {"Forwarded": "for=1.2.3.4;host=evil.example, for=5.6.7.8;proto=https;host=up.example"},
    {"X-Forwarded-Proto": "http, https", "X-Forwarded-Host": "evil.example, up.example"},
]


@pytest.mark.parametrize("headers", FORWARDED)
async def test_forwarded_headers_count_from_a_trusted_proxy(
    server: Server, proxied_server: Server, headers: dict[str, str]
) -> None:
    """SEC-FORWARDED, TUS-CRE-13: there, and only there, they make the address; of several entries
    the one that the trusted proxy wrote itself."""
    for asked, begin in ((server, server.endpoint), (proxied_server, "https://up.example/upload/")):
        answer = await tus.create(
            asked.endpoint, length=1, metadata=METADATA, bearer=asked.mint(), headers=headers
        )
        assert answer.location.startswith(begin)


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Forwarded-Host": 'evil"><script>'},
        {"X-Forwarded-Host": "evil.example/path?x=", "X-Forwarded-Proto": "javascript"},
        {"Forwarded": 'host="evil\\"\\r\\nX-Evil: 1";proto=ftp'},
        {"X-Forwarded-Host": "user:password@evil.example"},
        {"X-Forwarded-Host": "x" * 5000},
        {"Forwarded": "nonsense;;=;,"},
    ],
)
async def test_odd_forwarded_headers_are_left_out(
    proxied_server: Server, headers: dict[str, str]
) -> None:
    """SEC-FORWARDED, SEC-INJECT: what names no host does not get into an address."""
    answer = await tus.create(
        proxied_server.endpoint,
        length=1,
        metadata=METADATA,
        bearer=proxied_server.mint(),
        headers=headers,
    )
    assert answer.status == 201
    assert answer.location.startswith(proxied_server.endpoint)
    assert "X-Evil" not in answer.headers


@pytest.mark.parametrize("host", ['x"><script>', "a/b", "a b", "user@x", "x:99999999", "é"])
async def test_an_odd_host_gets_into_no_address(server: Server, host: str) -> None:
    """SEC-INJECT, HTTP-HOST, TUS-CRE-13: Location is relative then, or the request is refused."""
    async with connected(server.base) as wire:
        headers = TUS | {"Upload-Length": "1", "Authorization": f"Bearer {server.mint()}"}
        await wire.send_head("POST", "/upload/", headers, host=host)
        answer = await wire.read_response()
    if answer.status != 400:
        assert answer.status == 201
        assert re.fullmatch(r"/upload/[0-9a-f]{32}", answer.location)


async def test_a_refused_request_leaves_nothing(tmp_path: Path) -> None:
    """TUS-CORE-09, TUS-CORE-25, TUS-CRE-09, HTTP-SAFE, SEC-PATH: a new server that has refused all
    kinds of requests has neither a record nor a file."""
    async with faultless(tmp_path, {"upload": {"max_bytes": MAX_BYTES}}) as server:
        token = {"Authorization": f"Bearer {server.mint()}"}
        length = {"Upload-Length": "5"}
        typed = {"Content-Type": tus.OFFSET_STREAM}
        bad = [
            token | length,
            TUS | length,
            TUS | token,
            TUS | token | {"Upload-Length": "-1"},
            TUS | token | {"Upload-Length": str(MAX_BYTES + 1)},
            TUS | token | length | {"Upload-Defer-Length": "1"},
            TUS | token | {"Upload-Defer-Length": "2"},
            TUS | token | length | {"Upload-Metadata": "a !"},
            TUS | token | length | {"Upload-Metadata": "video_id Mg=="},
            TUS | token | length | {"Upload-Concat": "part"},
            TUS | token | length | {"Upload-Concat": "final;/upload/../x"},
            TUS | token | length | {"Expect": "tea"},
            TUS | token | length | {"X-HTTP-Method-Override": "PUT"},
            TUS | token | length | {"Content-Length": "x"},
            TUS | token | length | {"A": "x" * 40_000},
        ]
        for headers in bad:
            answer = await request("POST", server.endpoint, headers)
            assert 400 <= answer.status < 500, (headers, answer.status)
        for headers in (
            TUS | token | length,
            TUS | token | length | {"Content-Type": "text/plain"},
            TUS | token | typed | {"Upload-Length": "4"},
        ):
            answer = await request("POST", server.endpoint, headers, b"12345")
            assert answer.status in (413, 415)
        for method in ("HEAD", "PATCH", "DELETE", "GET", "POST", "PUT"):
            answer = await request(method, server.endpoint + "0" * 32, PATCH | token, b"12345")
            assert 400 <= answer.status < 500
        assert await listed_uploads(server) == []
        assert stored_files(server) == set()


async def test_many_clients_that_vanish(server: Server) -> None:
    """SEC-ALIVE, TUS-CORE-31, HTTP-GARBAGE: a hundred connections that are reset at every stage
    of a request leave a server that serves, and uploads that are whole."""
    data = some_bytes(200_000)
    urls = [await new_upload(server, length=len(data)) for _ in range(4)]

    async def vanish(number: int) -> None:
        url = urls[number % len(urls)]
        async with connected(url) as wire:
            try:
                if number % 5 == 0:
                    await wire.send(wire.head("PATCH", url, PATCH)[: number * 2])
                elif number % 5 == 1:
                    await wire.send_head("HEAD", url, TUS)
                else:
                    await tus.begin_patch(wire, url, 0, len(data))
                    await wire.send(data[: number * 1500])
                await wire.reset()
            except ConnectionError:
                return

    await asyncio.gather(*(vanish(number) for number in range(100)))
    for url in urls:
        kept = await offset_of(url)
        assert (await tus.patch(url, kept, data[kept:])).offset == len(data)
        assert stored_bytes(server, url) == data


async def test_a_client_that_takes_no_answers(server: Server) -> None:
    """SEC-ALIVE, HTTP-PIPELINE: thousands of requests whose answers nobody reads do not hold up
    others."""
    async with connected(server.base) as wire:
        one = wire.head("OPTIONS", "/upload/", {})
        sending = asyncio.create_task(_flood(one * 200, wire.send))
        for _ in range(20):
            answer = await asyncio.wait_for(tus.options(server.endpoint), 5)
            assert answer.status == 204
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        await wire.reset()


async def _flood(data: bytes, send: Callable[[bytes], Awaitable[None]]) -> None:
    for _ in range(100):
        await send(data)


async def test_random_requests_are_answered_or_hung_up_on(server: Server) -> None:
    """SEC-ALIVE, HTTP-GARBAGE: requests of every odd combination get a proper answer, never 500."""
    url = await new_upload(server, length=10)
    methods = ["POST", "PATCH", "HEAD", "DELETE", "GET", "OPTIONS"]
    values = ["", "0", "-1", "5", "9" * 30, "a b", "\t", "ÿ", ",,,", "final;x", '"']
    fields = ["Upload-Offset", "Upload-Length", "Upload-Metadata", "Upload-Defer-Length"]
    fields += ["Content-Type", "Tus-Resumable", "Upload-Checksum", "Upload-Concat", "Origin"]
    fields += ["X-HTTP-Method-Override", "Authorization", "Forwarded", "X-Request-ID", "Expect"]
    for number, field in enumerate(fields):
        for value in values:
            method = methods[(number + len(value)) % len(methods)]
            target = server.endpoint if method == "POST" else url
            if method == "DELETE":
                target = server.endpoint + "0" * 32
            headers = [(k, v) for k, v in PATCH.items() if k != field] + [(field, value)]
            try:
                answer = await request(method, target, headers)
            except (Hangup, WireError) as error:
                raise AssertionError((method, field, value)) from error
            assert answer.status != 500 and answer.status < 502, (method, field, value)
    assert (await tus.head(url)).status == 200
