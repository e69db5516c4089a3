"""Upload-Concat: parts, and the file they become."""

from urllib.parse import quote, urlsplit

import pytest

from tests.conformance.uploads import (
    METADATA,
    id_of,
    new_upload,
    offset_of,
    refusal,
    some_bytes,
    stored_bytes,
    stored_files,
    until,
)
from tests.support import tus
from tests.support.server import Server
from tests.support.wire import Response, connected

PARTIAL = {"Upload-Concat": "partial"}


async def a_part(server: Server, data: bytes, *, length: int | None = None) -> str:
    """The URL of a partial upload with these bytes."""
    length = len(data) if length is None else length
    made = await tus.create(
        server.endpoint, length=length, bearer=server.mint(), headers=PARTIAL, body=data or None
    )
    assert made.status == 201, made.text
    return made.location


async def join(server: Server, urls: str, **more: str) -> Response:
    """The creation of a final upload of these, as they stand."""
    headers = {"Upload-Concat": f"final;{urls}", "Upload-Defer-Length": ""} | more
    return await tus.create(
        server.endpoint, metadata=METADATA, bearer=server.mint(), headers=headers
    )


async def test_parts_become_a_file(server: Server) -> None:
    """TUS-CAT-02, TUS-CAT-04, TUS-CAT-05, TUS-CAT-09, TUS-CAT-12, TUS-CAT-13, TUS-CAT-15: in the
    order of the list, one of them twice; HEAD of all of them says what they are."""
    one, two = await a_part(server, b"one-"), await a_part(server, b"two-")
    urls = f"{two} {one} {two}"
    final = await join(server, urls)
    assert final.status == 201
    head = await tus.head(final.location)
    assert (head.status, head.offset, head.length) == (200, 12, 12)
    assert head.headers["Upload-Concat"] == f"final;{urls}"
    assert stored_bytes(server, final.location) == b"two-one-two-"
    part = await tus.head(one)
    assert (part.offset, part.length, part.headers["Upload-Concat"]) == (4, 4, "partial")
    assert (await join(server, one)).status == 201


@pytest.mark.parametrize("form", ["absolute", "path", "name"])
async def test_addresses_of_parts_may_be_relative(server: Server, form: str) -> None:
    """TUS-CAT-16: as they were told, without the host, or the last step of the path alone."""
    urls = [await a_part(server, b"ab"), await a_part(server, b"cd")]
    if form == "path":
        urls = [urlsplit(url).path for url in urls]
    elif form == "name":
        urls = [id_of(url) for url in urls]
    final = await join(server, " ".join(urls))
    assert final.status == 201
    assert stored_bytes(server, final.location) == b"abcd"


async def test_the_metadata_is_that_of_the_whole(server: Server) -> None:
    """TUS-CAT-07, TUS-CRE-10: what its own creation said, nothing of its parts."""
    made = await tus.create(
        server.endpoint,
        length=2,
        metadata=METADATA | {"part": "secret"},
        bearer=server.mint(),
        headers=PARTIAL,
        body=b"ab",
    )
    final = await join(server, made.location)
    head = await tus.head(final.location)
    assert head.headers["Upload-Metadata"] == tus.encode_metadata(METADATA)


async def test_a_whole_may_be_made_before_its_parts_are_complete(server: Server) -> None:
    """TUS-CAT-06, TUS-CAT-11, TUS-CAT-14: HEAD tells the length and no offset until it is joined,
    which happens by itself."""
    done, half = await a_part(server, b"done"), await a_part(server, b"ha", length=4)
    final = await join(server, f"{done} {half}")
    assert final.status == 201 and "Upload-Offset" not in final.headers
    head = await tus.head(final.location)
    assert head.status == 200 and head.length == 8 and "Upload-Offset" not in head.headers
    assert (await tus.patch(half, 2, b"lf")).status == 204

    async def is_joined() -> bool:
        return "Upload-Offset" in (await tus.head(final.location)).headers

    await until(is_joined)
    assert await offset_of(final.location) == 8
    assert stored_bytes(server, final.location) == b"donehalf"


async def test_a_part_whose_length_is_open_leaves_the_wholes_open(server: Server) -> None:
    """TUS-CAT-14, TUS-DEF-03: no Upload-Length before it can be calculated, then at once."""
    made = await tus.create(server.endpoint, bearer=server.mint(), headers=PARTIAL)
    final = await join(server, made.location)
    head = await tus.head(final.location)
    assert head.status == 200 and head.length is None
    await tus.patch(made.location, 0, b"ab", headers={"Upload-Length": "4"})
    assert (await tus.head(final.location)).length == 4


async def test_a_whole_takes_no_bytes(server: Server) -> None:
    """TUS-CAT-10: 403, neither it nor its parts change; the creation may not bring any either."""
    part = await a_part(server, b"part")
    final = (await join(server, part)).location
    for offset in (0, 4):
        refusal(await tus.patch(final, offset, b"more"), 403, "ERR_UPLOAD_IS_FINAL")
    assert stored_bytes(server, final) == stored_bytes(server, part) == b"part"
    made = await tus.create(
        server.endpoint,
        bearer=server.mint(),
        headers={"Upload-Concat": f"final;{part}", "Upload-Defer-Length": ""},
        body=b"bytes",
    )
    refusal(made, 403, "ERR_UPLOAD_IS_FINAL")


async def test_a_whole_that_is_asked_for_again_is_the_same(server: Server) -> None:
    """TUS-CAT-03, TUS-CAT-08: a client whose answer was lost repeats it; the parts are still
    there, and no second file is made."""
    part = await a_part(server, b"part")
    first, second = await join(server, part), await join(server, part)
    assert (second.status, second.location) == (201, first.location)
    assert (await tus.head(part)).status == 200


async def test_a_length_may_only_confirm(server: Server) -> None:
    """TUS-CAT-17: a final upload's length follows from its parts."""
    part = await a_part(server, b"part")
    refusal(await join(server, part, **{"Upload-Length": "5"}), 400, "ERR_LENGTH_CONFLICT")
    assert (await join(server, part, **{"Upload-Length": "4"})).status == 201


async def test_what_cannot_be_a_part_is_refused(server: Server) -> None:
    """TUS-CAT-18, SEC-ID: whole uploads, unknown ones, those of others, and what was removed; all
    with the same words, and nothing is made."""
    mine, whole = await a_part(server, b"mine"), await new_upload(server)
    foreign = await tus.create(
        server.endpoint,
        length=1,
        bearer=server.mint(video_id="1001", client_id="8"),
        headers=PARTIAL,
        body=b"x",
    )
    gone = await a_part(server, b"gone")
    await tus.delete(gone)
    final = (await join(server, mine)).location
    unknown = mine[:-1] + ("1" if mine.endswith("0") else "0")
    before = stored_files(server)
    said = set()
    for bad in (whole, foreign.location, gone, final, unknown, server.endpoint):
        said.add(refusal(await join(server, f"{mine} {bad}"), 400, "ERR_PART_UNUSABLE"))
    assert len(said) == 1
    assert stored_files(server) == before


@pytest.mark.parametrize(
    "value",
    [
        "",
        "Partial",
        "partial;",
        "final",
        "final;",
        "final; ",
        "final:x",
        "parts",
        "partial, partial",
    ],
)
async def test_a_malformed_concat_is_refused(server: Server, value: str) -> None:
    """TUS-CAT-02, TUS-CAT-18: 400, and no upload of another kind is made of it."""
    made = await tus.create(
        server.endpoint,
        length=1,
        metadata=METADATA,
        bearer=server.mint(),
        headers={"Upload-Concat": value or " "},
    )
    refusal(made, 400, "ERR_INVALID_HEADER")


ESCAPES = [
    "../../{id}",
    "/upload/../upload/{id}",
    "/upload/./{id}",
    "/upload//{id}",
    "/upload/%2e%2e/upload/{id}",
    "/upload/..%2f{id}",
    "/upload/%252e%252e%252f{id}",
    "/upload/..\\{id}",
    "/upload/{id}/../{id}",
    "/upload/{id}%00",
    "/upload/{id}.bin",
    "/upload/{id}.facts",
    "/upload/{id};x",
    "/upload/{id}?x=1",
    "/upload/{id}#x",
    "/other/{id}",
    "file:///upload/{id}",
    "ftp://host/upload/{id}",
    "//[/upload/{id}",
    "/upload/\xc0\xae\xc0\xae/{id}",
    "/etc/passwd",
]


@pytest.mark.parametrize("form", ESCAPES)
@pytest.mark.parametrize("encoded", [False, True])
async def test_no_address_in_the_list_leads_elsewhere(
    server: Server, form: str, encoded: bool
) -> None:
    """SEC-PATH, TUS-CAT-18: whatever is written there, and however it is encoded, it is an address
    as this server writes them, or nothing."""
    part = id_of(await a_part(server, b"part"))
    text = form.replace("{id}", part)
    before = stored_files(server)
    text = quote(text, safe="%") if encoded else text
    made = await join(server, text)
    refusal(made, 400, "ERR_PART_UNUSABLE" if text.isascii() else "ERR_INVALID_HEADER")
    assert stored_files(server) == before


async def test_many_parts_and_a_large_whole(server: Server) -> None:
    """TUS-CAT-05, TUS-CAT-12: a hundred parts, and some megabytes."""
    async with connected(server.base) as wire:
        pieces = [some_bytes(50_000 + n) for n in range(100)]
        urls = []
        for data in pieces:
            made = await tus.create(
                server.endpoint,
                length=len(data),
                bearer=server.mint(),
                headers=PARTIAL,
                body=data,
                wire=wire,
            )
            urls.append(made.location)
    final = await join(server, " ".join(urls))
    assert final.status == 201, final.text
    assert stored_bytes(server, final.location) == b"".join(pieces)


async def test_a_part_needs_a_token_of_its_own(server: Server) -> None:
    """TUS-CAT-02: parts carry no metadata, so their token is the header's; without any they are
    refused with a sentence that says what is missing."""
    made = await tus.create(server.endpoint, length=1, headers=PARTIAL)
    refusal(made, 401, "ERR_TOKEN_INVALID")
