"""Resumable Uploads for HTTP: what bytes are said to hash to."""

import base64
import hashlib

import pytest

from tests.conformance.rufh_uploads import EVERY, NEW, TODAY, begun, problem, state
from tests.conformance.uploads import some_bytes, stored_bytes, stored_files
from tests.support.rufh import Rufh
from tests.support.server import Server
from tests.support.wire import connected

DATA = some_bytes(100_000)
MISMATCH = "digest-mismatching-values"


def digest(data: bytes, algorithm: str = "sha-256") -> str:
    """A value of Content-Digest or Repr-Digest."""
    name = {"sha": "sha1"}.get(algorithm, algorithm.replace("-", ""))
    return f"{algorithm}=:{base64.b64encode(hashlib.new(name, data).digest()).decode()}:"


@EVERY
@pytest.mark.parametrize("algorithm", ["sha-512", "sha-256", "sha", "md5"])
async def test_content_that_matches_is_taken(server: Server, rufh: Rufh, algorithm: str) -> None:
    """RUFH-DIG-04: in a creation and in an append."""
    first = {"Content-Digest": digest(DATA[:5], algorithm)}
    url = await begun(server, rufh, DATA[:5], headers=first)
    rest = {"Content-Digest": f"{digest(DATA[5:], algorithm)}, unknown=:AAAA:"}
    done = await rufh.append(url, 5, DATA[5:], is_end=True, headers=rest)
    assert (done.status, rufh.is_complete(done)) == (201, True)
    assert stored_bytes(server, url) == DATA


@EVERY
async def test_content_that_does_not_match_is_not_appended(server: Server, rufh: Rufh) -> None:
    """RUFH-DIG-04: the client is told, and the upload stays as it was."""
    url = await begun(server, rufh, DATA[:5])
    wrong = {"Content-Digest": digest(b"something else")}
    answer = await rufh.append(url, 5, DATA[5:], is_end=True, headers=wrong)
    problem(answer, 400, "ERR_CHECKSUM_MISMATCH", MISMATCH)
    assert (answer.offset, rufh.is_complete(answer)) == (5, False)
    assert await state(url, rufh) == (5, False)
    assert stored_bytes(server, url) == DATA[:5]
    done = await rufh.append(url, 5, DATA[5:], is_end=True)
    assert rufh.is_complete(done)


@pytest.mark.parametrize("is_right", [True, False])
async def test_the_digest_may_come_behind_the_content(server: Server, is_right: bool) -> None:
    """RUFH-DIG-04: in the trailer section, where it was announced."""
    url = await begun(server, NEW, b"")
    async with connected(url) as wire:
        head = NEW.appending(0, is_end=True)
        head |= {"Transfer-Encoding": "chunked", "Trailer": "Content-Digest"}
        await wire.send_head("PATCH", url, head)
        await wire.send_chunk(b"12345")
        await wire.end_chunks({"Content-Digest": digest(b"12345" if is_right else b"54321")})
        answer = await wire.read_response()
    assert answer.status == (201 if is_right else 400)
    assert await state(url) == ((5, True) if is_right else (0, False))


@TODAY
@pytest.mark.parametrize("value", ["sha-256", "sha-256=AAAA", "sha-256=:AAAA:", "=:AAAA:", "sha=1"])
async def test_a_digest_that_cannot_be_read_is_refused(
    server: Server, rufh: Rufh, value: str
) -> None:
    """RUFH-DIG-04, RUFH-DIG-01: who wants its bytes verified must not believe that they were."""
    url = await begun(server, rufh)
    headers = {"Content-Digest": value}
    problem(
        await rufh.append(url, 5, b"6", is_end=True, headers=headers), 400, "ERR_INVALID_HEADER"
    )
    assert await state(url, rufh) == (5, False)
    created = await rufh.create(
        server.endpoint,
        b"12345",
        is_end=True,
        bearer=server.mint(),
        headers={"Repr-Digest": value},
    )
    problem(created, 400, "ERR_INVALID_HEADER")


# ------------------------------------------------------------------ the whole file


@EVERY
async def test_a_file_that_matches_is_complete(server: Server, rufh: Rufh) -> None:
    """RUFH-DIG-01: told at its creation, verified when all of it is there."""
    told = {"Repr-Digest": digest(DATA)}
    bearer = server.mint()
    whole = await rufh.create(server.endpoint, DATA, is_end=True, bearer=bearer, headers=told)
    assert (whole.status, rufh.is_complete(whole)) == (201, True)
    url = await begun(server, rufh, DATA[:5], headers=told)
    done = await rufh.append(url, 5, DATA[5:], is_end=True)
    assert (done.status, rufh.is_complete(done)) == (201, True)


@EVERY
async def test_a_file_that_does_not_match_has_failed(server: Server, rufh: Rufh) -> None:
    """RUFH-DIG-01: it does not become complete, the client is told, and there is no such upload
    any more."""
    told = {"Repr-Digest": digest(b"something else")}
    bearer = server.mint()
    whole = await rufh.create(server.endpoint, DATA, is_end=True, bearer=bearer, headers=told)
    problem(whole, 400, "ERR_DIGEST_MISMATCH", MISMATCH)
    url = await begun(server, rufh, DATA[:5], headers=told)
    answer = await rufh.append(url, 5, DATA[5:], is_end=True)
    problem(answer, 400, "ERR_DIGEST_MISMATCH", MISMATCH)
    assert not rufh.is_complete(answer)
    assert (await rufh.head(url)).status == 404


@EVERY
async def test_what_is_wanted_is_told(server: Server, rufh: Rufh) -> None:
    """RUFH-DIG-02, RUFH-DIG-03: once the whole is there, and not of a part of it."""
    wants = {"Want-Repr-Digest": "sha-256=5, md5=1, unknown=10"}
    bearer = server.mint()
    whole = await rufh.create(server.endpoint, DATA, is_end=True, bearer=bearer, headers=wants)
    told = {one.strip() for one in whole.headers["Repr-Digest"].split(", ")}
    assert told <= {digest(DATA), digest(DATA, "md5")} and digest(DATA) in told
    head = await rufh.head(whole.location, headers=wants)
    assert digest(DATA) in head.headers["Repr-Digest"]
    part = await rufh.create(server.endpoint, DATA[:5], is_end=False, bearer=bearer, headers=wants)
    assert "Repr-Digest" not in part.headers
    done = await rufh.append(part.location, 5, DATA[5:], is_end=True, headers=wants)
    assert digest(DATA) in done.headers["Repr-Digest"]


@TODAY
async def test_a_wish_is_never_refused(server: Server, rufh: Rufh) -> None:
    """RUFH-DIG-02: what cannot be had is not told, and what is not wanted neither."""
    for wish in ("unknown=5", "sha-256=0", "sha-256=11", "sha-256=?1", "(", ""):
        answer = await rufh.create(
            server.endpoint,
            b"12345",
            is_end=True,
            bearer=server.mint(),
            headers={"Want-Repr-Digest": wish},
        )
        assert answer.status == 201
        assert "Repr-Digest" not in answer.headers


async def test_a_refused_creation_leaves_nothing(small_server: Server) -> None:
    """RUFH-DIG-04, RUFH-DIG-01: where nobody was told its address."""
    server, unnamed = small_server, Rufh(None)
    files = stored_files(server)
    wrong = {"Content-Digest": digest(b"something else")}
    answer = await unnamed.create(
        server.endpoint, DATA, is_end=True, bearer=server.mint(), headers=wrong
    )
    problem(answer, 400, "ERR_CHECKSUM_MISMATCH", MISMATCH)
    assert "Location" not in answer.headers
    assert stored_files(server) == files
