"""Who may go on with an upload, in each of the three modes."""

import pytest

from tests.conformance.uploads import METADATA, create, new_upload, offset_of, shown
from tests.support import tokens, tus
from tests.support.server import Server
from tests.support.wire import Response


async def each_request(url: str, offset: int, headers: dict[str, str]) -> list[Response]:
    """HEAD, PATCH and DELETE, in this order."""
    return [
        await tus.head(url, headers=headers),
        await tus.patch(url, offset, b"x", headers=headers),
        await tus.delete(url, headers=headers),
    ]


async def test_the_address_is_enough(server: Server) -> None:
    """TUS-CORE-38, SEC-ID: in mode creation nobody needs a token to go on."""
    url = await new_upload(server, length=9)
    assert [one.status for one in await each_request(url, 0, {})] == [200, 204, 204]


async def test_an_expired_token_goes_on(server: Server) -> None:
    """TUS-CORE-38: clients repeat their headers for hours; what was genuine is believed, narrow
    scopes do not matter, for a client without a token may do the same."""
    for token in (server.mint(seconds=-9999), server.mint(scope="create")):
        url = await new_upload(server, length=9)
        headers = {"Authorization": f"Bearer {token}"}
        assert [one.status for one in await each_request(url, 0, headers)] == [200, 204, 204]


@pytest.mark.parametrize("mode", ["creation", "every-request"])
async def test_a_foreign_token_is_refused(server: Server, strict_server: Server, mode: str) -> None:
    """TUS-CORE-38, TUS-CORE-25: one that is presented must be the owner's and genuine, in both
    modes; the upload stays as it was."""
    asked = server if mode == "creation" else strict_server
    url = await new_upload(asked, length=9)
    cases = [
        (asked.mint(video_id="1002"), 403, "token video (1002) does not match this video (1001)"),
        (asked.mint(client_id="8"), 403, "token client (8) does not match this client (7)"),
        ("abcdefghijklmnop", 401, shown("abcdefghijklmnop")),
        (tokens.mint("another key that is long enough to be one, really"), 401, None),
    ]
    for token, status, text in cases:
        answers = await each_request(url, 0, {"Authorization": f"Bearer {token}"})
        assert [one.status for one in answers] == [status] * 3
        assert "Upload-Offset" not in answers[0].headers
        assert text is None or text in answers[1].text
    assert await offset_of(url, asked) == 0


async def test_a_strict_server_wants_a_token_each_time(strict_server: Server) -> None:
    """TUS-CORE-38, TUS-CORE-25: none, an expired one and one without the scope are refused; a
    fresh one for the same video and client is as good as the first."""
    server = strict_server
    url = await new_upload_with_tokens(server)
    for headers in ({}, {"Authorization": f"Bearer {server.mint(seconds=-60)}"}):
        answers = await each_request(url, 0, headers)
        assert [one.status for one in answers] == [401, 401, 401]
        assert "Upload-Offset" not in answers[0].headers
    narrow = {"Authorization": f"Bearer {server.mint(scope='create read')}"}
    assert [one.status for one in await each_request(url, 0, narrow)] == [200, 403, 403]
    fresh = {"Authorization": f"Bearer {server.mint(seconds=7200)}"}
    assert [one.status for one in await each_request(url, 0, fresh)] == [200, 204, 204]


async def new_upload_with_tokens(server: Server) -> str:
    answer = await create(server, METADATA, token=server.mint(), length=9)
    assert answer.status == 201, answer.text
    return answer.location


async def test_without_tokens_everybody_may(open_server: Server) -> None:
    """TUS-CORE-38: in mode off no token is asked for, and one that comes is not looked at."""
    for bearer in (None, "rubbish"):
        answer = await create(open_server, bearer=bearer, length=9)
        assert answer.status == 201
        headers = {} if bearer is None else {"Authorization": f"Bearer {bearer}"}
        answers = await each_request(answer.location, 0, headers)
        assert [one.status for one in answers] == [200, 204, 204]


async def test_options_never_ask_for_a_token(strict_server: Server) -> None:
    """TUS-CORE-38, TUS-CORE-37, CORS-PREFLIGHT: what is offered may be asked by everybody."""
    for url in (strict_server.endpoint, strict_server.endpoint + "0" * 32):
        assert (await tus.options(url)).status == 204
        answer = await tus.options(url, headers={"Authorization": "Bearer rubbish"})
        assert answer.status == 204


async def test_what_is_unknown_is_unknown_to_everybody(server: Server) -> None:
    """TUS-CORE-18, TUS-CORE-29, TUS-CORE-38: a genuine token of anybody learns 404."""
    headers = {"Authorization": f"Bearer {server.mint(video_id='5')}"}
    answers = await each_request(server.endpoint + "0" * 32, 0, headers)
    assert [one.status for one in answers] == [404] * 3
