"""Upload-Metadata: strict where it must be, patient where known clients need it."""

import pytest

from tests.conformance.uploads import METADATA, TUS, refusal, stored_files
from tests.support import tus
from tests.support.server import Server
from tests.support.wire import Response, connected, request


async def create_with(server: Server, *lines: str | bytes, bearer: bool = True) -> Response:
    """A creation with these Upload-Metadata lines, byte for byte."""
    async with connected(server.base) as wire:
        headers = dict(TUS) | {"Upload-Length": "3"}
        if bearer:
            headers["Authorization"] = f"Bearer {server.mint()}"
        head = wire.head("POST", "/upload/", headers)[:-2]
        for line in lines:
            value = line if isinstance(line, bytes) else line.encode()
            head += b"Upload-Metadata: " + value + b"\r\n"
        wire.expect_answer("POST")
        await wire.send(head + b"\r\n")
        return await wire.read_response()


async def echo_of(url: str) -> str | None:
    """Upload-Metadata of HEAD, its bytes as UTF-8."""
    value = (await tus.head(url)).headers.get("Upload-Metadata")
    return None if value is None else value.encode("latin-1").decode()


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("filename ZmlsbS5tcDQ=", id="one pair"),
        pytest.param("filename ZmlsbS5tcDQ=,filetype dmlkZW8vbXA0", id="two pairs"),
        pytest.param("a YQ==,b,c Yw==", id="no value"),
        pytest.param("is_confidential", id="no value at all"),
        pytest.param("a YQ==, b Yg==", id="a space behind the comma"),
        pytest.param("raw gIGC/w==", id="bytes that are no text"),
        pytest.param("nul AAAA", id="bytes that end strings"),
        pytest.param("note DQpYLUV2aWw6IDE=", id="a line end inside a value"),
        pytest.param("text bsO8bGw=", id="UTF-8"),
        pytest.param("Filename YQ==,filename Yg==", id="keys differ in case"),
        pytest.param("x-1.2_3/+~! eA==", id="an odd key"),
        pytest.param("größe MQ==", id="a key that is not ASCII"),
        pytest.param("a YWI", id="Base64 without its padding"),
    ],
)
async def test_metadata_come_back_as_they_went(server: Server, line: str) -> None:
    """TUS-CRE-04, TUS-CRE-05, TUS-CRE-06, TUS-CRE-10: HEAD's Upload-Metadata has the same bytes."""
    created = await create_with(server, line)
    assert created.status == 201, created.text
    assert "X-Evil" not in created.headers
    assert await echo_of(created.location) == line


@pytest.mark.parametrize("place", [0, 1, 2, 3])
async def test_the_token_is_not_echoed(server: Server, place: int) -> None:
    """TUS-CRE-10, SEC-INJECT: all but the token pair comes back, wherever the token stood; it is
    in no file and no line of the log either."""
    token = server.mint()
    pairs = [f"{key} {value}" for key, value in (("video_id", "MTAwMQ=="), ("client_id", "Nw=="))]
    pairs.append("filename ZmlsbS5tcDQ=")
    line = ",".join([*pairs[:place], tus.encode_metadata({"token": token}), *pairs[place:]])
    created = await create_with(server, line, bearer=False)
    assert created.status == 201, created.text
    assert await echo_of(created.location) == ",".join(pairs)
    needle = token.encode()
    for path in server.data_directory.rglob("*"):
        if path.is_file():
            assert needle not in path.read_bytes(), path
    assert token not in server.tail(1_000_000)


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("filename !!!", id="no Base64"),
        pytest.param("filename Zm=s", id="padding inside"),
        pytest.param("filename Z", id="one character of Base64"),
        pytest.param("filename ZmlsbS5tcDQ=  eA==", id="two values"),
        pytest.param("a YQ==,,b Yg==", id="an empty pair"),
        pytest.param(",a YQ==", id="begins with a comma"),
        pytest.param("a YQ==,", id="ends with a comma"),
        pytest.param("a YQ==,a Yg==", id="a key twice"),
        pytest.param("a\tb YQ==", id="a tab in a key"),
        pytest.param("k" * 1000 + " YQ==", id="a very long key"),
        pytest.param(",".join(f"k{n} YQ==" for n in range(500)), id="very many pairs"),
        pytest.param(b"\xff\xfe YQ==", id="a key that is no text"),
        pytest.param("filename ZmlsbS5tcDQ-", id="the other Base64"),
    ],
)
async def test_malformed_metadata_are_refused(server: Server, line: str | bytes) -> None:
    """TUS-CRE-04, TUS-CRE-05, TUS-CRE-09: 400, and nothing is made."""
    before = stored_files(server)
    refusal(await create_with(server, line), 400, "ERR_INVALID_METADATA")
    assert stored_files(server) == before


@pytest.mark.parametrize("size", [17_000, 200_000])
async def test_oversized_metadata_are_refused(server: Server, size: int) -> None:
    """TUS-CRE-09, HTTP-FIELDS: 431, and nothing is made."""
    before = stored_files(server)
    refusal(await create_with(server, f"a {'YWFh' * (size // 4)}"), 431, "ERR_HEADERS_TOO_LARGE")
    assert stored_files(server) == before


async def test_large_metadata_are_taken(server: Server) -> None:
    """TUS-CRE-04, TUS-CRE-10: 15 KiB of them still come back as they went."""
    line = f"a {'YWFh' * 3800}"
    created = await create_with(server, line)
    assert created.status == 201, created.text
    assert await echo_of(created.location) == line


@pytest.mark.parametrize("line", ["", " ", "\t"])
async def test_an_empty_header_has_no_pairs(server: Server, line: str) -> None:
    """TUS-CRE-05: tuspy sends the header empty; HEAD has no Upload-Metadata then."""
    created = await create_with(server, line)
    assert created.status == 201, created.text
    assert await echo_of(created.location) is None


async def test_no_header_has_no_pairs(server: Server) -> None:
    """TUS-CRE-10: without metadata HEAD has no Upload-Metadata."""
    assert await echo_of((await create_with(server)).location) is None


async def test_a_second_line_adds_what_the_first_lacks(server: Server) -> None:
    """TUS-CRE-05, TUS-CRE-10: tusc adds a line of its own, with filename again; the first line
    counts."""
    own = tus.encode_metadata(METADATA | {"filename": "mine.mp4"})
    created = await create_with(server, own, "filename dHVzYy5tcDQ=,extra eA==")
    assert created.status == 201, created.text
    assert await echo_of(created.location) == f"{own},extra eA=="


async def test_values_may_end_in_a_newline(server: Server) -> None:
    """TUS-CRE-05, TUS-CRE-10, TUS-CORE-38: ``echo X | base64`` leaves one; the token is read all
    the same, the echo keeps it."""
    line = tus.encode_metadata(
        {"token": server.mint() + "\n", "video_id": "1001\n", "client_id": "7\r\n"}
        | {"filename": "film.mp4\n"}
    )
    created = await create_with(server, line, bearer=False)
    assert created.status == 201, created.text
    expected = {"video_id": "1001\n", "client_id": "7\r\n", "filename": "film.mp4\n"}
    assert await echo_of(created.location) == tus.encode_metadata(expected)


async def test_metadata_make_no_header_lines(server: Server) -> None:
    """TUS-CRE-06, SEC-INJECT: line ends in values of the ids show up in no header."""
    evil = "1001\r\nX-Evil: 1\r\n\r\nHTTP/1.1 200 OK"
    async with connected(server.base) as wire:
        answer = await tus.create(
            server.endpoint,
            length=3,
            metadata={"video_id": evil, "client_id": "7"},
            bearer=server.mint(),
            wire=wire,
        )
        sentence = refusal(answer, 403, "ERR_TOKEN_VIDEO")
        assert "\r" not in sentence and "X-Evil" not in answer.headers
        assert await wire.is_usable()


@pytest.mark.parametrize("method", ["upload-metadata", "UPLOAD-METADATA", "uPLOAD-mETADATA"])
async def test_names_of_fields_have_no_case(server: Server, method: str) -> None:
    """HTTP-FIELDCASE, HTTP-OWS: every header of a creation in another case, with white space."""
    line = tus.encode_metadata(METADATA)
    headers = {
        "tUS-rESUMABLE": "\t1.0.0  ",
        "UPLOAD-length": "   3",
        method: f"  {line}\t ",
        "aUTHORIZATION": f" bEARER   {server.mint()} ",
    }
    created = await request("POST", server.endpoint, headers)
    assert created.status == 201, created.text
    assert await echo_of(created.location) == line
    patch = {"tus-resumable": "1.0.0 ", "upload-offset": " 0\t", "content-type": tus.OFFSET_STREAM}
    assert (await request("PATCH", created.location, patch, b"abc")).status == 204
