"""OPTIONS and versions: what is offered, and what happens to who speaks another language."""

import pytest

from tests.conformance.conftest import MAX_BYTES
from tests.conformance.uploads import METADATA, PATCH, TUS, new_upload, refusal, stored_bytes
from tests.support import tus
from tests.support.server import Server
from tests.support.wire import connected, request

EXTENSIONS = {
    "creation",
    "creation-with-upload",
    "creation-defer-length",
    "termination",
    "checksum",
    "checksum-trailer",
    "concatenation",
    "concatenation-unfinished",
}
FOREIGN = ["0.2.2", "1.0.1", "2.0.0", "1.0", "1.0.0, 0.2.2", "one", ""]


@pytest.mark.parametrize("target", ["/upload/", "/upload", "an upload", "*"])
async def test_options_tell_what_is_offered(server: Server, target: str) -> None:
    """TUS-CORE-04, TUS-CORE-05, TUS-CORE-10, TUS-CORE-11, TUS-CORE-12, TUS-CORE-13, TUS-CORE-34,
    TUS-CORE-35, TUS-CORE-37, TUS-CRE-02, TUS-CWU-01, TUS-CWU-02, TUS-DEF-04, TUS-EXP-01,
    TUS-TRM-01, TUS-CHK-01, TUS-CHK-08, TUS-CHK-09, TUS-CHK-10, TUS-CHK-11, TUS-CAT-01,
    TUS-CAT-06: the answer to OPTIONS has it all, wherever it is asked."""
    if target == "an upload":
        target = await new_upload(server)
    async with connected(server.base) as wire:
        answer = await wire.request("OPTIONS", target)
    assert answer.status == 204
    assert answer.headers["Tus-Version"] == "1.0.0"
    extensions = answer.headers["Tus-Extension"].split(",")
    assert set(extensions) == EXTENSIONS | {"expiration"}
    assert len(extensions) == len(set(extensions))
    assert answer.headers["Tus-Max-Size"] == str(MAX_BYTES)
    algorithms = answer.headers["Tus-Checksum-Algorithm"].split(",")
    assert set(algorithms) == {"sha1", "sha256", "sha512", "md5", "crc32c"}


async def test_what_is_not_offered_is_not_announced(open_server: Server) -> None:
    """TUS-CORE-11, TUS-CORE-13, TUS-EXP-01: without a bound no Tus-Max-Size, without expiry no
    expiration; extensions that are not built are not claimed."""
    answer = await tus.options(open_server.endpoint)
    assert set(answer.headers["Tus-Extension"].split(",")) == EXTENSIONS
    assert "Tus-Max-Size" not in answer.headers


@pytest.mark.parametrize("version", [*FOREIGN, "1.0.0"])
async def test_options_are_answered_in_any_language(server: Server, version: str) -> None:
    """TUS-CORE-36: Tus-Resumable in an OPTIONS request does not matter."""
    answer = await request("OPTIONS", server.endpoint, {"Tus-Resumable": version})
    assert (answer.status, answer.headers["Tus-Version"]) == (204, "1.0.0")


async def test_options_do_not_claim_a_version_of_their_own(server: Server) -> None:
    """TUS-CORE-06: answers to OPTIONS are the ones without Tus-Resumable."""
    assert "Tus-Resumable" not in (await tus.options(server.endpoint)).headers


@pytest.mark.parametrize(
    ("method", "version"),
    [
        *((method, version) for method in ("HEAD", "PATCH", "DELETE") for version in FOREIGN),
        # Questions that name no protocol are answered: they may be the other one's.
        ("PATCH", None),
    ],
)
async def test_another_version_is_refused_and_nothing_done(
    server: Server, method: str, version: str | None
) -> None:
    """TUS-CORE-07, TUS-CORE-08, TUS-CORE-09, TUS-CORE-39: 412 with the version that is spoken, and
    the upload stays as it was."""
    url = await new_upload(server, length=10, data=b"12345")
    headers = {"Content-Type": tus.OFFSET_STREAM, "Upload-Offset": "5"}
    if version is not None:
        headers["Tus-Resumable"] = version
    answer = await request(method, url, headers, b"67890" if method == "PATCH" else None)
    assert (answer.status, answer.headers["Tus-Version"]) == (412, "1.0.0")
    assert answer.headers["Tus-Resumable"] == "1.0.0"
    assert "Upload-Offset" not in answer.headers
    if method != "HEAD":
        refusal(answer, 412, "ERR_UNSUPPORTED_VERSION")
    assert (await tus.head(url)).offset == 5
    assert stored_bytes(server, url) == b"12345"


@pytest.mark.parametrize("version", [*FOREIGN, None])
async def test_a_creation_in_another_version_is_refused(
    server: Server, version: str | None
) -> None:
    """TUS-CORE-07, TUS-CORE-08, TUS-CORE-09, TUS-CORE-39: also where a body comes with it."""
    headers = {"Upload-Length": "5", "Upload-Metadata": tus.encode_metadata(METADATA)}
    headers |= {"Authorization": f"Bearer {server.mint()}", "Content-Type": tus.OFFSET_STREAM}
    if version is not None:
        headers["Tus-Resumable"] = version
    answer = await request("POST", server.endpoint, headers, b"12345")
    refusal(answer, 412, "ERR_UNSUPPORTED_VERSION")
    assert answer.headers["Tus-Version"] == "1.0.0"
    assert "Location" not in answer.headers


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        pytest.param("POST", "/upload/", TUS, 400, id="no length"),
        pytest.param("GET", "/upload/", TUS, 405, id="no such method"),
        pytest.param("BREW", "/upload/", TUS, 501, id="no method at all"),
        pytest.param("HEAD", "/upload/" + "0" * 32, TUS, 404, id="unknown, HEAD"),
        pytest.param("PATCH", "/upload/" + "0" * 32, PATCH, 400, id="no offset"),
        pytest.param("DELETE", "/upload/" + "0" * 32, TUS, 404, id="unknown, DELETE"),
        pytest.param("DELETE", "/upload/a/b/c", TUS, 404, id="no such place"),
        pytest.param("POST", "/elsewhere", TUS, 404, id="elsewhere"),
        pytest.param("POST", "/upload/", {"Expect": "tea"}, 417, id="expects something"),
        pytest.param("POST", "/upload/", {"A": "x" * 70_000}, 431, id="too large"),
    ],
)
async def test_every_error_tells_the_version(
    server: Server, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    """TUS-CORE-06: Tus-Resumable is on errors too, whoever noticed them."""
    answer = await request(method, server.base.rstrip("/") + path, headers)
    assert answer.status == status
    assert answer.headers.getall("Tus-Resumable") == ["1.0.0"]


async def test_every_success_tells_the_version(server: Server) -> None:
    """TUS-CORE-01, TUS-CORE-06: a whole life of an upload, Tus-Resumable on each answer."""
    async with connected(server.base) as wire:
        created = await tus.create(
            server.endpoint, length=4, metadata=METADATA, bearer=server.mint(), wire=wire
        )
        url = created.location
        answers = [
            created,
            await tus.head(url, wire=wire),
            await tus.patch(url, 0, b"data", wire=wire),
            await tus.head(url, wire=wire),
            await tus.delete(url, wire=wire),
        ]
    assert [answer.status for answer in answers] == [201, 200, 204, 200, 204]
    assert all(answer.headers.getall("Tus-Resumable") == ["1.0.0"] for answer in answers)
