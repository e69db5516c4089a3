"""Methods: which are allowed where, and X-HTTP-Method-Override."""

import pytest

from tests.conformance.uploads import (
    METADATA,
    PATCH,
    TUS,
    new_upload,
    offset_of,
    refusal,
    stored_bytes,
)
from tests.support import tus
from tests.support.server import Server
from tests.support.wire import connected, request

OVERRIDE = "X-HTTP-Method-Override"
WIRE_METHODS = ["POST", "GET", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH"]


def allowed_by(value: str) -> set[str]:
    return {method.strip() for method in value.split(",")}


@pytest.mark.parametrize("method", ["GET", "HEAD", "PATCH", "DELETE", "TRACE", "PROPFIND"])
async def test_the_endpoint_says_what_it_allows(server: Server, method: str) -> None:
    """HTTP-METHOD: 405 with an Allow that is true: what it names is not 405."""
    async with connected(server.base) as wire:
        answer = await wire.request(method, "/upload/", PATCH)
        assert answer.status == 405
        assert allowed_by(answer.headers["Allow"]) == {"POST", "PUT", "OPTIONS"}
        if method != "HEAD":
            refusal(answer, 405, "ERR_METHOD_NOT_ALLOWED")
        for allowed in ("POST", "PUT", "OPTIONS"):
            assert (await wire.request(allowed, "/upload/", {})).status != 405


async def test_put_is_no_method_of_tus(server: Server) -> None:
    """HTTP-METHOD, TUS-CRE-01: a tus creation is a POST; PUT is that of raw bodies and of the
    second protocol."""
    answer = await request("PUT", server.endpoint, TUS | {"Upload-Length": "5"})
    refusal(answer, 405, "ERR_METHOD_NOT_ALLOWED")
    assert allowed_by(answer.headers["Allow"]) == {"POST", "OPTIONS"}


@pytest.mark.parametrize("method", ["POST", "PUT", "TRACE", "PROPFIND", "LOCK"])
async def test_an_upload_says_what_it_allows(server: Server, method: str) -> None:
    """HTTP-METHOD, SEC-XSS: 405 with a true Allow; a GET gets none of the bytes."""
    url = await new_upload(server, length=30, data=b"<script>alert(1)</script>")
    async with connected(url) as wire:
        answer = await wire.request(method, url, TUS)
        refusal(answer, 405, "ERR_METHOD_NOT_ALLOWED")
        assert b"script" not in answer.body
        named = allowed_by(answer.headers["Allow"])
        assert named == {"HEAD", "GET", "PATCH", "DELETE", "OPTIONS"}
        assert (await wire.request("GET", url, TUS)).body == b""
        for allowed in ("HEAD", "GET", "PATCH", "OPTIONS", "DELETE"):
            assert (await wire.request(allowed, url, TUS)).status != 405


@pytest.mark.parametrize("method", ["BREW", "patch", "Post", "M-SEARCHX", "X" * 20])
async def test_a_method_that_nobody_knows(server: Server, method: str) -> None:
    """HTTP-METHOD: 501; methods have a case."""
    url = await new_upload(server)
    async with connected(url) as wire:
        await wire.send_head(method, url, TUS)
        refusal(await wire.read_response(), 501, "ERR_METHOD_UNKNOWN")
    assert await offset_of(url) == 0


@pytest.mark.parametrize("name", ["PATCH", "patch", "Patch", " PATCH "])
@pytest.mark.parametrize("method", WIRE_METHODS)
async def test_any_method_can_mean_patch(server: Server, method: str, name: str) -> None:
    """TUS-CORE-14, TUS-CORE-15, HTTP-FRAMING, TUS-CORE-26: the bytes are stored whichever method
    is on the wire, in whatever case the override is written; the answer is framed for the wire."""
    url = await new_upload(server, length=10, data=b"12345")
    headers = PATCH | {"Upload-Offset": "5", OVERRIDE: name}
    async with connected(url) as wire:
        answer = await wire.request(method, url, headers, b"67890")
        assert (answer.status, answer.offset) == (204, 10)
        assert await wire.is_usable()
    assert stored_bytes(server, url) == b"1234567890"


@pytest.mark.parametrize("method", WIRE_METHODS)
async def test_any_method_can_mean_head(server: Server, method: str) -> None:
    """TUS-CORE-14, TUS-CORE-15, HTTP-FRAMING: the answer to a HEAD that is a POST on the wire is
    framed as one to a POST."""
    url = await new_upload(server, length=10, data=b"12345")
    async with connected(url) as wire:
        answer = await wire.request(method, url, TUS | {OVERRIDE: "HEAD"})
        assert (answer.status, answer.offset, answer.length) == (200, 5, 10)
        assert await wire.is_usable()
    assert await offset_of(url) == 5


@pytest.mark.parametrize("method", WIRE_METHODS)
async def test_any_method_can_mean_delete(server: Server, method: str) -> None:
    """TUS-CORE-14, TUS-CORE-15, TUS-TRM-03: also a HEAD on the wire removes then."""
    url = await new_upload(server)
    assert (await request(method, url, TUS | {OVERRIDE: "DELETE"})).status == 204
    assert (await tus.head(url)).status == 404


@pytest.mark.parametrize("method", WIRE_METHODS)
async def test_any_method_can_mean_post(server: Server, method: str) -> None:
    """TUS-CORE-14, TUS-CORE-15, TUS-CRE-12: a creation by any method on the wire."""
    headers = TUS | {"Upload-Length": "5", "Upload-Metadata": tus.encode_metadata(METADATA)}
    headers |= {OVERRIDE: "POST", "Authorization": f"Bearer {server.mint()}"}
    answer = await request(method, server.endpoint, headers)
    assert answer.status == 201
    assert await offset_of(answer.location) == 0


@pytest.mark.parametrize("method", WIRE_METHODS)
async def test_any_method_can_mean_options(server: Server, method: str) -> None:
    """TUS-CORE-14, TUS-CORE-15, TUS-CORE-34: without Tus-Resumable too."""
    answer = await request(method, server.endpoint, {OVERRIDE: "OPTIONS"})
    assert (answer.status, answer.headers["Tus-Version"]) == (204, "1.0.0")


async def test_the_method_on_the_wire_does_not_count(server: Server) -> None:
    """TUS-CORE-15: DELETE with an override to HEAD removes nothing, HEAD with one to PUT is
    405."""
    url = await new_upload(server, data=b"12345")
    assert (await request("DELETE", url, TUS | {OVERRIDE: "HEAD"})).offset == 5
    assert await offset_of(url) == 5
    answer = await request("HEAD", url, TUS | {OVERRIDE: "PUT"})
    assert answer.status == 405
    assert "HEAD" in allowed_by(answer.headers["Allow"])


@pytest.mark.parametrize("name", ["BREW", "", "PATCH, DELETE", "DELETE\tx", "PÄTCH"])
async def test_an_override_that_nobody_knows(server: Server, name: str) -> None:
    """TUS-CORE-14, HTTP-METHOD: 501, and nothing is done by the method on the wire."""
    url = await new_upload(server, data=b"12345")
    refusal(await request("DELETE", url, TUS | {OVERRIDE: name}), 501, "ERR_METHOD_UNKNOWN")
    assert await offset_of(url) == 5


@pytest.mark.parametrize("names", [("DELETE", "HEAD"), ("HEAD", "DELETE")])
async def test_two_overrides_have_no_meaning(server: Server, names: tuple[str, str]) -> None:
    """TUS-CORE-14, HTTP-METHOD: lines that differ are refused, whichever is first."""
    url = await new_upload(server, data=b"12345")
    headers = [*TUS.items(), *((OVERRIDE, name) for name in names)]
    answer = await request("POST", url, headers)
    assert answer.status in (400, 501), answer.status
    assert await offset_of(url) == 5
