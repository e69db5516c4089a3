"""Forms: what browsers and scripts send that know no upload protocol."""

from collections.abc import Callable

import pytest

from tests.conformance.conftest import BODY_IDLE_SECONDS, MAX_BYTES
from tests.conformance.oneshots import (
    IDS,
    bearer,
    go_on,
    left_of,
    made,
    new_ids,
    post_form,
    refused,
    send_slowly,
    token_fields,
)
from tests.conformance.uploads import (
    Traced,
    some_bytes,
    stored_bytes,
    stored_files,
)
from tests.support import tus
from tests.support.forms import CURL, FIREFOX, WEBKIT, field, file, form, form_type, part
from tests.support.relay import Cut, relay_to
from tests.support.server import Server
from tests.support.wire import connected, request

SIZE = 600_000
EXPECT = {"Expect": "100-continue"}


# ------------------------------------------------------------------ files of forms


@pytest.mark.parametrize("boundary", [WEBKIT, FIREFOX, CURL, b"x"])
async def test_a_file_of_a_form_is_an_upload(server: Server, boundary: bytes) -> None:
    """HTTP-FORM, HTTP-ONETOKEN: with the boundaries that clients make, and a file full of what
    looks like them."""
    data = (b"\r\n--" + boundary[:-1]) * 1000 + some_bytes(SIZE)
    body = form(*token_fields(server), field("take", "2"), file(data), boundary=boundary)
    answer = await request("POST", server.endpoint, form_type(boundary), body)
    (upload,) = made(answer)
    assert upload["length"] == len(data)
    assert stored_bytes(server, answer.location) == data
    head = await tus.head(answer.location)
    assert (head.offset, head.length) == (len(data), len(data))
    said = set(head.headers["Upload-Metadata"].split(","))
    expected = IDS | {"filename": "film.mp4", "filetype": "video/mp4", "take": "2"}
    assert said == set(tus.encode_metadata(expected).split(","))


async def test_each_file_is_an_upload_of_its_own(server: Server) -> None:
    """HTTP-FORM: in their order; empty ones too, but not a control in which none was chosen."""
    files = [some_bytes(SIZE), b"", b"12345"]
    body = form(
        *token_fields(server),
        file(files[0], "a.mp4"),
        file(b"", "", "application/octet-stream"),
        file(files[1], "b.mp4"),
        field("take", "2"),
        file(files[2], "c.mp4", None),
        field("submit", "go"),
    )
    uploads = made(await post_form(server, body))
    assert [one["length"] for one in uploads] == [SIZE, 0, 5]
    for one, data, name in zip(uploads, files, "abc", strict=True):
        assert stored_bytes(server, one["location"]) == data
        wire = (await tus.head(one["location"])).headers["Upload-Metadata"]
        assert tus.encode_metadata({"filename": f"{name}.mp4"}) in wire
        assert ("take Mg==" in wire) == (name == "c")
        assert "submit" not in wire


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("step", [1, 7, 1448])
async def test_a_form_may_come_in_any_segments(server: Server, step: int, chunked: bool) -> None:
    """HTTP-FORM, HTTP-CHUNKED, HTTP-KEEPALIVE: boundaries are torn apart too; the connection goes
    on afterwards."""
    data = (b"\r\n--" + WEBKIT[:-1]) * 20
    body = form(*token_fields(server), file(data), file(b"2"), after=b"\r\nepilogue")
    framing = {"Transfer-Encoding": "chunked"} if chunked else {"Content-Length": str(len(body))}
    async with connected(server.base) as wire:
        await wire.send_head("POST", server.endpoint, form_type() | framing)
        if chunked:
            for at in range(0, len(body), step):
                await wire.send_chunk(body[at : at + step])
            await wire.end_chunks()
        else:
            await send_slowly(wire, body, step)
        first, second = made(await wire.read_response())
        assert await wire.is_usable()
    assert stored_bytes(server, first["location"]) == data
    assert stored_bytes(server, second["location"]) == b"2"


async def test_an_upload_of_a_form_is_like_any_other(server: Server) -> None:
    """HTTP-FORM, TUS-TRM-05: finished, and can be removed."""
    answer = await post_form(server, form(*token_fields(server), file(b"12345")))
    (upload,) = made(answer)
    assert (await tus.patch(answer.location, 5, b"")).status == 204
    assert (await tus.delete(answer.location)).status == 204
    assert not new_ids(server, set()) & {upload["id"]}


async def test_scripts_may_put_forms_and_name_metadata(server: Server) -> None:
    """HTTP-FORM: by PUT as well; tus's header holds for every file until a field says otherwise."""
    told = tus.encode_metadata({"take": "1", "scene": "2"})
    headers = form_type() | bearer(server) | {"Upload-Metadata": told}
    body = form(field("take", "3"), file(b"1"))
    answer = await request("PUT", server.endpoint, headers, body)
    made(answer)
    wire = (await tus.head(answer.location)).headers["Upload-Metadata"]
    assert "take Mw==" in wire and "scene Mg==" in wire


# ------------------------------------------------------------------ tokens and limits


@pytest.mark.parametrize(
    ("fields", "has_bearer", "status", "code"),
    [
        ({}, False, 401, "ERR_TOKEN_INVALID"),
        (IDS, False, 401, "ERR_TOKEN_INVALID"),
        (IDS | {"token": "abcdefghijklmnop"}, False, 401, "ERR_TOKEN_INVALID"),
        ({"token": "MINT"}, False, 401, "ERR_TOKEN_INVALID"),
        (IDS | {"token": "MINT", "video_id": "1002"}, False, 403, "ERR_TOKEN_VIDEO"),
        (IDS | {"token": "MINT", "client_id": "8"}, False, 403, "ERR_TOKEN_CLIENT"),
        ({"video_id": "1002"}, True, 403, "ERR_TOKEN_VIDEO"),
    ],
)
async def test_a_form_without_a_right_stores_nothing(
    server: Server, fields: dict[str, str], has_bearer: bool, status: int, code: str
) -> None:
    """HTTP-ONETOKEN, HTTP-EXPECT: a token in a field can be judged at the head of the first file:
    the refusal comes while that is still sent."""
    before = stored_files(server)
    given = {key: server.mint() if value == "MINT" else value for key, value in fields.items()}
    body = form(*[field(key, value) for key, value in given.items()], file(bytes(SIZE)))
    headers = form_type() | EXPECT | {"Content-Length": str(len(body))}
    headers |= bearer(server) if has_bearer else {}
    async with connected(server.base) as wire:
        await wire.send_head("POST", server.endpoint, headers)
        assert await wire.read_continue() is None
        await wire.send(body[: -SIZE // 2])
        answer = await wire.read_response()
    assert "uploads" not in refused(answer, status, code)
    assert stored_files(server) == before


async def test_a_bad_header_is_refused_before_the_form(server: Server) -> None:
    """HTTP-ONETOKEN, HTTP-EXPECT: no 100."""
    headers = form_type() | EXPECT | {"Authorization": "Bearer bad", "Content-Length": "1000"}
    async with connected(server.base) as wire:
        await wire.send_head("POST", server.endpoint, headers)
        answer = await wire.read_response()
    refused(answer, 401, "ERR_TOKEN_INVALID")
    assert answer.interim == ()


async def test_a_token_may_allow_some_types_only(server: Server) -> None:
    """HTTP-ONETOKEN: which type a file has is said by its part, or by a field."""
    token = bearer(server, allowed_types=["video/*"])
    made(await post_form(server, form(file(b"1")), token))
    made(await post_form(server, form(field("filetype", "video/x"), file(b"1", "a", "a/b")), token))
    answer = await post_form(server, form(file(b"1", "a.txt", "text/plain")), token)
    refused(answer, 403, "ERR_TYPE_NOT_ALLOWED")


async def test_a_file_over_the_bound_ends_the_form(server: Server) -> None:
    """HTTP-FORM, TUS-CRE-11: what was complete before it stays and is named; nothing is left of
    the file itself."""
    body = form(file(b"12345"), file(bytes(MAX_BYTES + 1)), file(b"never"))
    before = stored_files(server)
    said = refused(await post_form(server, body, bearer(server)), 413, "ERR_UPLOAD_TOO_LARGE")
    (stored,) = said["uploads"]
    assert stored["is_complete"] and stored["length"] == 5
    assert new_ids(server, before) == {stored["id"]}


async def test_a_form_that_must_be_too_large_is_refused_at_once(server: Server) -> None:
    """HTTP-FORM, HTTP-EXPECT: more than all its files may have together."""
    size = str(MAX_BYTES * 17)
    headers = form_type() | EXPECT | bearer(server) | {"Content-Length": size}
    async with connected(server.base) as wire:
        await wire.send_head("POST", server.endpoint, headers)
        answer = await wire.read_response()
    assert answer.interim == ()
    refused(answer, 413, "ERR_UPLOAD_TOO_LARGE")


# ------------------------------------------------------------------ forms that cannot be used

DISPOSITION = 'Content-Disposition: form-data; name="a"'
BAD: list[tuple[str, Callable[[], bytes]]] = [
    ("no file", lambda: form(field("a", "b"))),
    ("an empty body", lambda: b"\r\n"),
    ("no boundary at all", lambda: some_bytes(100)),
    ("another boundary", lambda: form(file(b"1"), boundary=CURL)),
    ("a long text before it", lambda: form(file(b"1"), before=bytes(70_000) + b"\r\n")),
    ("a field without a name", lambda: form(part(["Content-Disposition: form-data"], b"1"))),
    ("a name with a space", lambda: form(field("a b", "1"), file(b"1"))),
    ("a huge field", lambda: form(field("a", b"1" * 20_000), file(b"1"))),
    ("a huge file without a name", lambda: form(part([DISPOSITION], bytes(SIZE)))),
    ("many fields", lambda: form(*[field("a", "1")] * 61, file(b"1"))),
    ("a huge head", lambda: form(part([DISPOSITION + "x" * 9000], b"1"))),
    ("many lines of a head", lambda: form(part([DISPOSITION, *["X: y"] * 20], b"1"))),
    ("a nested form", lambda: form(field("a", "1", "Content-Type: multipart/mixed; boundary=x"))),
    ("a part that is no form-data", lambda: form(part(["Content-Disposition: inline"], b"1"))),
    ("a coded part", lambda: form(field("a", "MQ==", "Content-Transfer-Encoding: base64"))),
    ("endless blanks", lambda: b"--" + WEBKIT + b" " * 100_000),
]


@pytest.mark.parametrize("body", [make for _, make in BAD], ids=[name for name, _ in BAD])
async def test_a_form_that_cannot_be_used_is_refused(
    server: Server, body: Callable[[], bytes]
) -> None:
    """HTTP-FORMBAD, HTTP-FORMBOUND: 400 with a reason, nothing stored, the server lives on."""
    before = stored_files(server)
    said = refused(await post_form(server, body(), bearer(server)), 400, "ERR_FORM_INVALID")
    assert said["message"].startswith("The form cannot be used: ")
    assert "uploads" not in said
    assert stored_files(server) == before


@pytest.mark.parametrize("boundary", ["", '""', "a" * 71, '"a\tb"'])
async def test_a_form_without_a_boundary_is_refused(server: Server, boundary: str) -> None:
    """HTTP-FORMBAD: before it is read."""
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"} | bearer(server)
    refused(await request("POST", server.endpoint, headers, b"x"), 400, "ERR_FORM_INVALID")


async def test_more_files_than_a_form_may_have(server: Server) -> None:
    """HTTP-FORMBOUND: those before the first too many are complete, and named."""
    body = form(*[file(b"%d" % number) for number in range(17)])
    said = refused(await post_form(server, body, bearer(server)), 400, "ERR_FORM_INVALID")
    assert "more than 16 files" in said["message"]
    assert [one["length"] for one in said["uploads"]] == [1] * 10 + [2] * 6
    assert all(one["is_complete"] for one in said["uploads"])


async def test_a_fault_behind_a_file_does_not_undo_it(server: Server) -> None:
    """HTTP-FORMBAD: it came whole; the refusal names it."""
    body = form(file(b"12345"), part(["X: y"], b""))
    said = refused(await post_form(server, body, bearer(server)), 400, "ERR_FORM_INVALID")
    assert [(one["length"], one["is_complete"]) for one in said["uploads"]] == [(5, True)]


# ------------------------------------------------------------------ cut short


async def test_a_file_without_the_last_boundary_is_not_complete(server: Server) -> None:
    """HTTP-FORMBAD, HTTP-ONECUT: nobody knows whether it came whole: 400, what came is kept."""
    data = some_bytes(SIZE)
    body = form(file(b"1"), file(data), is_ended=False)
    answer = await post_form(server, body, bearer(server))
    said = refused(answer, 400, "ERR_FORM_INVALID")
    assert "last boundary" in said["message"]
    assert [one["is_complete"] for one in said["uploads"]] == [True, False]
    url = left_of(answer, SIZE)
    assert await go_on(url, data + b"more") == SIZE
    assert stored_bytes(server, url) == data + b"more"


@pytest.mark.parametrize("sent", [0, 1, 1000, 262_144, SIZE, SIZE + 42])
@pytest.mark.parametrize("how", list(Cut))
async def test_a_cut_form_is_gone_on_with_by_tus(server: Server, how: Cut, sent: int) -> None:
    """HTTP-ONECUT, TUS-DEF-03: every byte that can only be the file's is kept; how long the file
    is is for the client to say. The last cut is within the last boundary."""
    data = some_bytes(SIZE)
    before = stored_files(server)
    traced = Traced(server)
    body = form(*token_fields(server), file(data))
    start = body.index(data)
    headers = form_type() | traced.headers | {"Content-Length": str(len(body))}
    async with relay_to(server.base) as relay, connected(relay.url(server.base)) as wire:
        connection = await relay.connection(0)
        await wire.send_head("POST", "/upload/", headers)
        await wire.send(body[: start + sent])
        await connection.passed(len(wire.head("POST", "/upload/", headers)) + start + sent)
        connection.cut(how)
    assert (await traced.ended())["received_bytes"] == start + sent
    (upload_id,) = new_ids(server, before)
    url = server.endpoint + upload_id
    head = await tus.head(url)
    assert (head.offset, head.length) == (min(sent, SIZE), None)
    assert await go_on(url, data) == min(sent, SIZE)
    assert stored_bytes(server, url) == data
    assert "token" not in (await tus.head(url)).headers["Upload-Metadata"]


async def test_a_form_that_is_cut_before_its_file_leaves_nothing(server: Server) -> None:
    """HTTP-ONECUT, HTTP-HALFCLOSE: there is nothing to go on with."""
    before = stored_files(server)
    async with connected(server.base) as wire:
        await wire.send_head("POST", "/upload/", form_type() | {"Content-Length": "1000"})
        await wire.send(form(*token_fields(server), is_ended=False))
        wire.half_close()
        answer = await wire.read_response()
    assert "uploads" not in refused(answer, 400, "ERR_CLIENT_GONE")
    assert stored_files(server) == before


async def test_a_form_that_stalls_is_told_where_to_go_on(impatient_server: Server) -> None:
    """HTTP-ONECUT, TUS-CORE-31: 503; the files before are complete."""
    server, data = impatient_server, some_bytes(SIZE)
    body = form(*token_fields(server), file(b"1"), file(data))
    async with connected(server.base) as wire:
        headers = form_type() | {"Content-Length": str(len(body))}
        await wire.send_head("POST", "/upload/", headers)
        await wire.send(body[: body.index(data) + 400_000])
        answer = await wire.read_response(seconds=BODY_IDLE_SECONDS * 30)
    said = refused(answer, 503, "ERR_BODY_TOO_SLOW")
    assert [one["is_complete"] for one in said["uploads"]] == [True, False]
    url = left_of(answer, 400_000)
    assert await go_on(url, data) == 400_000
    assert stored_bytes(server, url) == data


async def test_a_form_is_over_with_its_last_boundary(server: Server) -> None:
    """HTTP-FORM, HTTP-HALFCLOSE: what its length promised behind it is not missed."""
    body = form(*token_fields(server), file(b"12345"), after=b"")
    async with connected(server.base) as wire:
        headers = form_type() | {"Content-Length": str(len(body) + 2)}
        await wire.send_head("POST", "/upload/", headers)
        await wire.send(body)
        wire.half_close()
        made(await wire.read_response())
