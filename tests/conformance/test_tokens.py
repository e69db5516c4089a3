"""Tokens: where they are read, what binds them, and the four refusals word for word."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from urllib.parse import urljoin
from uuid import uuid4

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.conformance.keys import SECRET, signing_keys
from tests.conformance.uploads import (
    TUS,
    create,
    id_of,
    listed_uploads,
    offset_of,
    refusal,
    shown,
    stored_files,
)
from tests.support import tokens, tus
from tests.support.server import Server
from tests.support.wire import Response, request

ALGORITHMS = ["HS256", "HS384", "HS512", "RS256", "PS256", "ES256", "ES384", "ES512", "EdDSA"]
NULL = "token invalid (null)"


async def create_with_token(server: Server, where: str, token: str) -> Response:
    return await create(
        server,
        IDS,
        token=token if where == "token" else None,
        bearer=token if where == "bearer" else None,
    )


# ------------------------------------------------------------------ the four refusals

IDS = {"video_id": "1001", "client_id": "7"}
REFUSED = [
    pytest.param({}, IDS, NULL, 401, id="no token"),
    pytest.param({"token": ""}, IDS, NULL, 401, id="an empty token"),
    pytest.param({"token": " \n"}, IDS, NULL, 401, id="a token of white space"),
    pytest.param({"token": "MINT"}, {"client_id": "7"}, NULL, 401, id="no video"),
    pytest.param({"token": "MINT"}, {"video_id": "1001"}, NULL, 401, id="no client"),
    pytest.param({"token": "MINT"}, {}, NULL, 401, id="neither"),
    pytest.param({"token": "abcdefghijklmnop"}, IDS, shown("abcdefghijklmnop"), 401, id="no JWT"),
    pytest.param({"token": "a.b"}, IDS, shown("a.b"), 401, id="a short one"),
    pytest.param({"bearer": "abcdefghijklmnop"}, {}, shown("abcdefghijklmnop"), 401, id="header"),
    pytest.param(
        {"token": "MINT"},
        IDS | {"video_id": "1002"},
        "token video (1001) does not match this video (1002)",
        403,
        id="another video",
    ),
    pytest.param(
        {"token": "MINT"},
        IDS | {"client_id": "8"},
        "token client (7) does not match this client (8)",
        403,
        id="another client",
    ),
    pytest.param(
        {"bearer": "MINT"},
        {"video_id": "1002"},
        "token video (1001) does not match this video (1002)",
        403,
        id="another video, header",
    ),
    pytest.param(
        {"bearer": "MINT"},
        {"client_id": "8"},
        "token client (7) does not match this client (8)",
        403,
        id="another client, header",
    ),
]


async def create_as_told(
    server: Server, where: Mapping[str, str], metadata: Mapping[str, str]
) -> Response:
    """A row of the table above; MINT stands for a good token."""
    given = {key: server.mint() if value == "MINT" else value for key, value in where.items()}
    return await create(server, metadata, token=given.get("token"), bearer=given.get("bearer"))


def code_of(text: str) -> str:
    """The stable code that belongs to one of the four texts."""
    if text.startswith("token invalid"):
        return "ERR_TOKEN_INVALID"
    return "ERR_TOKEN_VIDEO" if text.startswith("token video") else "ERR_TOKEN_CLIENT"


@pytest.mark.parametrize(("where", "metadata", "text", "status"), REFUSED)
async def test_a_token_is_refused_in_these_words(
    server: Server, where: dict[str, str], metadata: dict[str, str], text: str, status: int
) -> None:
    """TUS-CORE-38, TUS-CRE-09: the exact text, and nothing is made."""
    before = stored_files(server)
    answer = await create_as_told(server, where, metadata)
    assert refusal(answer, status, code_of(text)) == text
    assert ("WWW-Authenticate" in answer.headers) is (status == 401)
    assert stored_files(server) == before


@pytest.mark.parametrize(("where", "metadata", "text", "status"), REFUSED)
async def test_a_platform_may_want_500(
    platform_server: Server, where: dict[str, str], metadata: dict[str, str], text: str, status: int
) -> None:
    """TUS-CORE-38: with refusal_status all of them are 500, in the same words."""
    server = platform_server
    answer = await create_as_told(server, where, metadata)
    assert refusal(answer, 500, code_of(text)) == text
    assert not stored_files(server)


async def test_a_head_is_never_500(platform_server: Server) -> None:
    """TUS-CORE-38, TUS-CORE-18: a HEAD answered 500 makes a client begin anew, so it keeps 401."""
    answer = await tus.head(
        platform_server.endpoint + "0" * 32, headers={"Authorization": "Bearer wrong"}
    )
    assert answer.status == 401


def forged(server: Server) -> dict[str, str]:
    """Tokens that must not be believed."""
    good = server.mint()
    head, payload, signature = good.split(".")
    claims = {"video_id": "1001", "client_id": "7", "exp": int(time.time()) + 999}
    return {
        "expired": server.mint(seconds=-60),
        "without exp": server.mint(exp=None),
        "not valid yet": server.mint(nbf=int(time.time()) + 600),
        "of another key": tokens.mint("another key that is long enough to be one, really"),
        "unsigned": jwt.encode(claims, "", algorithm="none"),
        "with its signature cut off": f"{head}.{payload}.",
        "with another payload": f"{head}.{payload[:-4]}AAAA.{signature}",
        "for an audience": server.mint(aud="somebody"),
        "without a video": server.mint(video_id=None),
        "without a client": server.mint(client_id=None),
        "of no ids": server.mint(video_id=True, client_id=[]),
    }


async def test_a_token_that_is_not_genuine_is_refused(server: Server) -> None:
    """TUS-CORE-38, TUS-CRE-09: of each no more than twelve characters are shown."""
    before = stored_files(server)
    for what, token in forged(server).items():
        for where in ("token", "bearer"):
            answer = await create_with_token(server, where, token)
            assert refusal(answer, 401, "ERR_TOKEN_INVALID") == shown(token), what
            assert token not in answer.text
    assert stored_files(server) == before


@pytest.mark.parametrize("where", ["token", "bearer"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_every_algorithm_is_taken(keyed_server: Server, algorithm: str, where: str) -> None:
    """TUS-CORE-38, TUS-CRE-12: signed by each kind of key."""
    token = tokens.mint(signing_keys()[algorithm], algorithm=algorithm)
    answer = await create_with_token(keyed_server, where, token)
    assert answer.status == 201, answer.text
    assert await offset_of(answer.location) == 0


async def test_a_public_key_is_no_secret(keyed_server: Server) -> None:
    """TUS-CORE-38: a token "signed" by HMAC with the text of a public key is refused."""
    for name in ("RS256", "ES256", "EdDSA"):
        public = signing_keys()[name].public_key()
        pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        token = hmac_token(pem)
        refusal(await create(keyed_server, IDS, token=token), 401, "ERR_TOKEN_INVALID")
    assert (await create(keyed_server, IDS, token=hmac_token(SECRET))).status == 201


def hmac_token(key: bytes) -> str:
    """What PyJWT refuses to make."""

    def encode(raw: bytes) -> bytes:
        return base64.urlsafe_b64encode(raw).rstrip(b"=")

    claims = {"video_id": "1001", "client_id": "7", "exp": 99999999999}
    text = encode(b'{"alg":"HS256","typ":"JWT"}') + b"." + encode(json.dumps(claims).encode())
    return (text + b"." + encode(hmac.digest(key, text, hashlib.sha256))).decode()


# ------------------------------------------------------------------ what a token allows


async def test_a_header_token_stands_for_missing_ids(server: Server) -> None:
    """TUS-CORE-38: parts of parallel uploads carry no metadata; the claims name the owner."""
    answer = await create(server, bearer=server.mint(video_id=55, client_id="nine"))
    assert answer.status == 201
    record = await record_of(server, answer.location)
    assert (record["video_id"], record["client_id"]) == ("55", "nine")


async def record_of(server: Server, url: str) -> dict[str, object]:
    return next(one for one in await listed_uploads(server) if one["upload_id"] == id_of(url))


async def test_numbers_and_texts_are_the_same_id(server: Server) -> None:
    """TUS-CORE-38: claims and metadata are compared as text."""
    for video_id in (1001, "1001"):
        answer = await create(server, IDS, token=server.mint(video_id=video_id, client_id=7))
        assert answer.status == 201, answer.text


async def test_the_header_wins(server: Server) -> None:
    """TUS-CORE-38: a token in the header is the one that counts; another scheme is no token."""
    answer = await create(server, IDS, token="rubbish", bearer=server.mint())
    assert answer.status == 201, answer.text
    answer = await create(server, IDS, token=server.mint(), bearer="rubbish")
    refusal(answer, 401, "ERR_TOKEN_INVALID")
    headers = TUS | {"Upload-Length": "5", "Authorization": "Basic dTpw"}
    headers["Upload-Metadata"] = tus.encode_metadata(IDS | {"token": server.mint()})
    assert (await request("POST", server.endpoint, headers)).status == 201


async def test_a_token_may_bound_the_size(server: Server) -> None:
    """TUS-CORE-38, TUS-CRE-11: max_size makes the bound smaller, also for deferred lengths."""
    token = server.mint(max_size=100)
    assert (await create(server, IDS, token=token, length=100)).status == 201
    answer = await create(server, IDS, token=token, length=101)
    assert "100" in refusal(answer, 413, "ERR_UPLOAD_TOO_LARGE")
    deferred = await tus.create(server.endpoint, metadata=IDS, bearer=token)
    answer = await tus.patch(deferred.location, 0, b"x" * 101)
    refusal(answer, 413, "ERR_UPLOAD_TOO_LARGE")
    answer = await tus.patch(deferred.location, 0, b"", headers={"Upload-Length": "101"})
    refusal(answer, 413, "ERR_UPLOAD_TOO_LARGE")
    assert await offset_of(deferred.location) == 0


async def test_a_token_may_bound_the_type(server: Server) -> None:
    """TUS-CORE-38, TUS-CRE-09: allowed_types is compared with the metadata's filetype."""
    token = server.mint(allowed_types=["video/*", "image/png"])
    for filetype, status in [
        ("video/mp4", 201),
        ("IMAGE/PNG", 201),
        ("image/jpeg", 403),
        ("", 403),
    ]:
        answer = await create(server, IDS | {"filetype": filetype}, token=token)
        assert answer.status == status, filetype
    refusal(await create(server, IDS, token=token), 403, "ERR_TYPE_NOT_ALLOWED")


async def test_a_token_may_be_for_one_file(server: Server) -> None:
    """TUS-CORE-38, TUS-CRE-13: with once the same creation again gets the same address, another
    file is refused, also when both come at the same time."""
    token = server.mint(jti=uuid4().hex, once=True)
    answers = await asyncio.gather(*(create(server, IDS, token=token) for _ in range(6)))
    assert {answer.status for answer in answers} == {201}
    assert len({answer.location for answer in answers}) == 1
    refusal(await create(server, IDS, token=token, length=6), 403, "ERR_TOKEN_SCOPE")
    other = await create(server, IDS | {"filename": "other.mp4"}, token=token)
    refusal(other, 403, "ERR_TOKEN_SCOPE")
    url = urljoin(server.endpoint, answers[0].location)
    assert (await tus.patch(url, 0, b"hel")).offset == 3
    again = await create(server, IDS, token=token)
    assert (again.status, again.location, again.offset) == (201, answers[0].location, 3)
