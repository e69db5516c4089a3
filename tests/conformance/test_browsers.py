"""What browsers need to let a script upload."""

import pytest

from tests.conformance.uploads import METADATA, PATCH, TUS, new_upload, refusal
from tests.support import tus
from tests.support.server import Server
from tests.support.wire import Response, connected, request

PAGE = "https://studio.example"
SENT = {
    "authorization", "content-type", "origin", "x-requested-with", "x-request-id",
    "x-http-method-override", "tus-resumable", "upload-length", "upload-offset",
    "upload-metadata", "upload-defer-length", "upload-concat", "upload-checksum",
}  # fmt: skip
READ = {
    "location", "upload-offset", "upload-length", "upload-metadata", "upload-defer-length",
    "upload-concat", "upload-expires", "tus-version", "tus-resumable", "tus-max-size",
    "tus-extension", "tus-checksum-algorithm", "retry-after", "x-request-id",
}  # fmt: skip
ODD = ["null", "*", "https://evil.example", "file://", "x" * 5000, "a b", '"><script>', "https://é"]


def names(value: str) -> set[str]:
    return {name.strip().lower() for name in value.split(",")}


async def preflight(url: str, method: str, origin: str = PAGE) -> Response:
    """As a browser sends it: no token, nothing of tus."""
    return await request(
        "OPTIONS",
        url,
        {
            "Origin": origin,
            "Access-Control-Request-Method": method,
            "Access-Control-Request-Headers": "tus-resumable,upload-offset,x-request-id",
        },
    )


@pytest.mark.parametrize("method", ["POST", "HEAD", "PATCH", "DELETE", "GET"])
async def test_preflights_succeed(server: Server, strict_server: Server, method: str) -> None:
    """CORS-PREFLIGHT: for every method and header of tus, at the endpoint and at uploads, known or
    not, without token and Tus-Resumable, for a day."""
    for asked in (server, strict_server):
        for path in ("", "0" * 32, "no-id-at-all"):
            answer = await preflight(asked.endpoint + path, method)
            assert 200 <= answer.status < 300
            assert answer.headers["Access-Control-Allow-Origin"] == "*"
            assert method in answer.headers["Access-Control-Allow-Methods"]
            assert names(answer.headers["Access-Control-Allow-Headers"]) >= SENT
            assert answer.headers["Access-Control-Max-Age"] == "86400"


@pytest.mark.parametrize("origin", [PAGE, None])
async def test_every_answer_may_be_read(server: Server, origin: str | None) -> None:
    """CORS-ANSWER, CORS-EXPOSE, CORS-NOORIGIN: successes and errors, with an Origin or without."""
    extra = {} if origin is None else {"Origin": origin}
    url = await new_upload(server, length=5)
    token = {"Authorization": f"Bearer {server.mint()}"}
    requests = [
        ("POST", server.endpoint, TUS | token | {"Upload-Length": "5"}, 201),
        ("HEAD", url, TUS, 200),
        ("PATCH", url, PATCH | {"Upload-Offset": "0"}, 204),
        ("PATCH", url, PATCH | {"Upload-Offset": "1"}, 409),
        ("PATCH", url, TUS | {"Upload-Offset": "0"}, 415),
        ("PATCH", url, {}, 412),
        ("POST", server.endpoint, TUS | {"Upload-Length": "5"}, 401),
        ("HEAD", server.endpoint + "0" * 32, TUS, 404),
        ("GET", url, TUS, 200),
        ("GET", url + "/status", {}, 200),
        ("GET", server.endpoint + "status", {}, 401),
        ("GET", server.base, {}, 404),
        ("BREW", url, TUS, 501),
        ("OPTIONS", url, {"Expect": "tea"}, 417),
        ("OPTIONS", url, {"A": "x" * 40_000}, 431),
        ("OPTIONS", url, {"Content-Length": "x"}, 400),
        ("OPTIONS", url, {}, 204),
        ("DELETE", url, TUS, 204),
        ("GET", server.base + "/health/live", {}, 200),
    ]
    for method, target, headers, status in requests:
        answer = await request(method, target, headers | extra)
        assert answer.status == status, (method, answer.status)
        assert answer.headers.getall("Access-Control-Allow-Origin") == ["*"]
        assert names(answer.headers["Access-Control-Expose-Headers"]) >= READ
        assert answer.headers["X-Request-ID"]


@pytest.mark.parametrize("origin", ODD)
async def test_odd_origins_are_harmless(
    server: Server, proxied_server: Server, origin: str
) -> None:
    """CORS-REFLECT, SEC-INJECT: they are neither echoed nor believed."""
    for asked, allowed in ((server, ["*"]), (proxied_server, [])):
        async with connected(asked.base) as wire:
            head = wire.head("OPTIONS", "/upload/", {})[:-2]
            wire.expect_answer("OPTIONS")
            await wire.send(head + b"Origin: " + origin.encode() + b"\r\n\r\n")
            answer = await wire.read_response()
        assert answer.status == 204
        assert answer.headers.getall("Access-Control-Allow-Origin", []) == allowed
        assert "Access-Control-Allow-Credentials" not in answer.headers


@pytest.mark.parametrize("origin", ["https://studio.example", "https://www.example"])
async def test_listed_origins_are_echoed(proxied_server: Server, origin: str) -> None:
    """CORS-ANSWER, CORS-VARY, CORS-REFLECT: the one that asks, with credentials, and caches are
    told so; a star would not do with credentials."""
    for answer in (
        await preflight(proxied_server.endpoint, "PATCH", origin),
        await request("GET", proxied_server.endpoint, {"Origin": origin}),
        await request("BREW", proxied_server.endpoint, {"Origin": origin}),
    ):
        if answer.status != 501:  # what could not be parsed has no headers to be read
            assert answer.headers["Access-Control-Allow-Origin"] == origin
            assert answer.headers["Access-Control-Allow-Credentials"] == "true"
        assert "origin" in names(answer.headers["Vary"])


async def test_other_origins_get_no_permission(proxied_server: Server) -> None:
    """CORS-VARY, CORS-REFLECT, CORS-NOORIGIN: no header, but Vary all the same, for a cache keeps
    this answer too; who sends no Origin is served."""
    for headers in ({"Origin": "https://studio.example.evil"}, {}):
        answer = await request("OPTIONS", proxied_server.endpoint, headers)
        assert answer.status == 204
        assert "Access-Control-Allow-Origin" not in answer.headers
        assert "origin" in names(answer.headers["Vary"])


async def test_the_request_id_is_the_clients(server: Server) -> None:
    """CORS-EXPOSE, SEC-INJECT: a harmless one is kept, so that both logs have it; another is
    replaced."""
    good = {"X-Request-ID": "d3b07384-d9a0-4c2b_1.x"}
    answer = await request("OPTIONS", server.endpoint, good)
    assert answer.headers["X-Request-ID"] == good["X-Request-ID"]
    for odd in ("x" * 500, "a b", '"<>', "", "é"):
        answer = await request("OPTIONS", server.endpoint, {"X-Request-ID": odd})
        assert answer.headers["X-Request-ID"] not in ("", odd)


async def test_a_preflight_of_metadata_and_the_upload(server: Server) -> None:
    """CORS-PREFLIGHT, CORS-ANSWER: the whole exchange of a page, on one connection."""
    async with connected(server.base) as wire:
        headers = {"Origin": PAGE, "Access-Control-Request-Method": "POST"}
        assert (await wire.request("OPTIONS", "/upload/", headers)).status == 204
        created = await tus.create(
            server.endpoint,
            length=2,
            metadata=METADATA,
            bearer=server.mint(),
            headers={"Origin": PAGE},
            wire=wire,
        )
        patched = await tus.patch(created.location, 0, b"ab", headers={"Origin": PAGE}, wire=wire)
        assert (patched.status, patched.headers["Access-Control-Allow-Origin"]) == (204, "*")
        wrong = await tus.patch(created.location, 1, b"", headers={"Origin": PAGE}, wire=wire)
        refusal(wrong, 409, "ERR_OFFSET_MISMATCH")
