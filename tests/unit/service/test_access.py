"""The token and the metadata must speak of the same upload, in each mode."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tusd_py.auth.base import Authenticator, AuthMode
from tusd_py.core.errors import (
    ClientMismatch,
    TokenInvalid,
    TokenTooNarrow,
    TypeNotAllowed,
    UploadError,
    VideoMismatch,
)
from tusd_py.core.identity import ANYBODY, Claims, Owner, Principal, show_token
from tusd_py.core.ids import ClientId, VideoId
from tusd_py.core.metadata import Metadata, build_pairs
from tusd_py.service.access import Access

OWNER = Owner(VideoId("A"), ClientId("7"))
SCOPES = ("create", "append", "read", "terminate")


class KnownTokens(Authenticator):
    """Believes the tokens it was given; the one called "old" has expired."""

    def __init__(self, **tokens: Claims) -> None:
        self._tokens = {"good": Claims(OWNER), "old": Claims(OWNER), **tokens}

    async def read_claims(self, token: str | None, *, ignore_expiry: bool = False) -> Claims:
        text = (token or "").strip()
        if text not in self._tokens or (text == "old" and not ignore_expiry):
            raise TokenInvalid(show_token(text))
        return self._tokens[text]


def access(mode: AuthMode = AuthMode.CREATION, **tokens: Claims) -> Access:
    return Access(KnownTokens(**tokens), mode)


def metadata(**values: str) -> Metadata:
    return build_pairs({key: value.encode() for key, value in values.items()})


# ------------------------------------------------------------------ the four refusals


@pytest.mark.parametrize("mode", [AuthMode.CREATION, AuthMode.EVERY_REQUEST])
@pytest.mark.parametrize(
    ("bearer", "said", "text"),
    [
        pytest.param(None, {}, "token invalid (null)", id="no token anywhere"),
        pytest.param("", {}, "token invalid (null)", id="an empty header"),
        pytest.param(" \t", {"token": " \n"}, "token invalid (null)", id="white space only"),
        pytest.param(
            None,
            {"token": "eyJhbGciOiJIUzI1NiJ9.e30.x", "video_id": "A", "client_id": "7"},
            "token invalid (eyJhbGciOiJI…)",
            id="a token that is not believed",
        ),
        pytest.param("bad\r\nX: 1", {}, "token invalid (bad??X:?1…)", id="what ends a line"),
        pytest.param("old", {}, "token invalid (old…)", id="an expired token"),
        pytest.param(
            None, {"token": "good", "client_id": "7"}, "token invalid (null)", id="no video_id"
        ),
        pytest.param(
            None, {"token": "good", "video_id": "A"}, "token invalid (null)", id="no client_id"
        ),
        pytest.param(
            None,
            {"token": "good", "video_id": "A", "client_id": " "},
            "token invalid (null)",
            id="an empty client_id",
        ),
        pytest.param(
            "good",
            {"video_id": "B"},
            "token video (A) does not match this video (B)",
            id="another video",
        ),
        pytest.param(
            None,
            {"token": "good", "video_id": "B", "client_id": "8"},
            "token video (A) does not match this video (B)",
            id="another video and client",
        ),
        pytest.param(
            "good",
            {"video_id": "A", "client_id": "8"},
            "token client (7) does not match this client (8)",
            id="another client",
        ),
    ],
)
async def test_a_creation_is_refused_with_the_platforms_text(
    mode: AuthMode, bearer: str | None, said: dict[str, str], text: str
) -> None:
    """DESIGN 5: the exact sentence, in both modes that take tokens."""
    with pytest.raises(UploadError) as caught:
        await access(mode).for_creation(bearer, metadata(**said))
    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("bearer", "said"),
    [
        pytest.param("good", {}, id="token in the header, nothing said"),
        pytest.param("good", {"video_id": "A"}, id="one key said"),
        pytest.param(" good\n", {"video_id": "A\n", "client_id": " 7"}, id="white space"),
        pytest.param(
            None, {"token": "good\n", "video_id": "A\n", "client_id": "7\n"}, id="in the metadata"
        ),
        pytest.param(" ", {"token": "good", "video_id": "A", "client_id": "7"}, id="empty header"),
        pytest.param("good", {"token": "bad"}, id="the header wins"),
    ],
)
async def test_a_creation_is_bound_to_the_tokens_owner(
    bearer: str | None, said: dict[str, str]
) -> None:
    """Values are stripped of white space; keys may be absent where the token is in the header."""
    principal = await access().for_creation(bearer, metadata(**said))
    assert principal.owner == OWNER


async def test_the_header_is_believed_alone_where_both_have_a_token() -> None:
    """A good token in the metadata does not save a bad one in the header."""
    with pytest.raises(TokenInvalid, match="bad"):
        await access().for_creation("bad", metadata(token="good", video_id="A", client_id="7"))


IDS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12).map(str.strip).filter(bool)


@given(token_video=IDS, video=IDS, token_client=IDS, client=IDS, in_header=st.booleans())
async def test_only_equal_ids_are_bound(
    token_video: str, video: str, token_client: str, client: str, in_header: bool
) -> None:
    """Any two texts: equal after stripping, or the refusal that names both, video first."""
    claims = Claims(Owner(VideoId(token_video), ClientId(token_client)))
    said = {"video_id": video, "client_id": client} | ({} if in_header else {"token": "t"})
    asked = access(t=claims).for_creation("t" if in_header else None, metadata(**said))
    if (token_video, token_client) == (video, client):
        assert (await asked).owner == claims.owner
        return
    wanted = VideoMismatch if token_video != video else ClientMismatch
    with pytest.raises(wanted):
        await asked


# ------------------------------------------------------------------ optional claims


@pytest.mark.parametrize("scope", [frozenset(), frozenset({"read", "append"})])
async def test_a_token_without_the_scope_creates_nothing(scope: frozenset[str]) -> None:
    """An empty scope allows nothing; none at all allows everything."""
    with pytest.raises(TokenTooNarrow, match="it lacks the scope create"):
        await access(t=Claims(OWNER, scope=scope)).for_creation("t", Metadata())
    principal = await access(t=Claims(OWNER, scope=None)).for_creation("t", Metadata())
    assert principal.owner == OWNER


async def test_a_type_outside_the_token_creates_nothing() -> None:
    """Nor does a file whose type is not said."""
    narrow = access(t=Claims(OWNER, allowed_types=("video/*",)))
    allowed = metadata(filetype="Video/MP4; codecs=avc1")
    assert (await narrow.for_creation("t", allowed)).owner == OWNER
    for said in ({"filetype": "image/png"}, {"filetype": "video"}, {}):
        with pytest.raises(TypeNotAllowed):
            await narrow.for_creation("t", metadata(**said))


# ------------------------------------------------------------------ after the creation


@pytest.mark.parametrize("bearer", [None, "", " "])
async def test_the_url_is_enough_after_creation(bearer: str | None) -> None:
    """Mode creation: no token, nobody in particular."""
    assert await access().for_upload(bearer, "append") == ANYBODY


@pytest.mark.parametrize("bearer", ["good", " old\n"])
async def test_a_token_presented_again_names_the_owner_expired_or_not(bearer: str) -> None:
    """The state compares its owner with the upload's."""
    assert await access().for_upload(bearer, "append") == Principal(Claims(OWNER))


async def test_a_forged_token_is_refused_though_none_was_needed() -> None:
    """A client that believes it has rights is told that it has not."""
    with pytest.raises(TokenInvalid):
        await access().for_upload("forged", "read")


async def test_scopes_do_not_bind_where_no_token_would_be_needed() -> None:
    """Mode creation: a token for creating only is repeated by its client on each PATCH."""
    reader = access(t=Claims(OWNER, scope=frozenset({"create"})))
    assert (await reader.for_upload("t", "append")).owner == OWNER


@pytest.mark.parametrize("bearer", [None, "", "old", "forged"])
async def test_every_request_needs_a_token_that_has_not_expired(bearer: str | None) -> None:
    """Mode every-request."""
    strict = access(AuthMode.EVERY_REQUEST)
    assert (await strict.for_upload("good", "read")).owner == OWNER
    with pytest.raises(TokenInvalid):
        await strict.for_upload(bearer, "read")


@pytest.mark.parametrize("wanted", SCOPES)
async def test_every_request_needs_its_scope(wanted: str) -> None:
    """Mode every-request: the one scope that is wanted, and no other one instead."""
    strict = access(
        AuthMode.EVERY_REQUEST,
        narrow=Claims(OWNER, scope=frozenset(SCOPES) - {wanted}),
        fitting=Claims(OWNER, scope=frozenset({wanted})),
    )
    assert (await strict.for_upload("fitting", wanted)).owner == OWNER
    with pytest.raises(TokenTooNarrow):
        await strict.for_upload("narrow", wanted)


@pytest.mark.parametrize("mode", [AuthMode.CREATION, AuthMode.EVERY_REQUEST])
@pytest.mark.parametrize("bearer", [None, "", "old", "forged"])
async def test_a_list_needs_a_token_that_has_not_expired(
    mode: AuthMode, bearer: str | None
) -> None:
    """Also where the address of one upload would do: a list has no address nobody can guess."""
    assert (await access(mode).for_listing("good")).owner == OWNER
    with pytest.raises(TokenInvalid):
        await access(mode).for_listing(bearer)


@pytest.mark.parametrize("mode", [AuthMode.CREATION, AuthMode.EVERY_REQUEST])
async def test_a_list_needs_the_scope_to_read(mode: AuthMode) -> None:
    """A token for sending files only does not show what else its client has."""
    narrow = access(mode, sender=Claims(OWNER, scope=frozenset({"create", "append"})))
    with pytest.raises(TokenTooNarrow):
        await narrow.for_listing("sender")


@pytest.mark.parametrize("reader", [None, KnownTokens()])
async def test_tokens_that_are_off_are_not_even_read(reader: Authenticator | None) -> None:
    """Mode off: everybody is nobody in particular, with any token."""
    off = Access(reader, AuthMode.OFF)
    assert await off.for_creation("forged", metadata(video_id="B")) == ANYBODY
    assert await off.for_upload("forged", "append") == ANYBODY
    assert await off.for_listing("forged") == ANYBODY


def test_a_mode_that_takes_tokens_needs_somebody_to_read_them() -> None:
    """Never open by omission."""
    with pytest.raises(ValueError, match="needs an authenticator"):
        Access(None, AuthMode.CREATION)


def test_the_refusal_status_is_handed_on() -> None:
    """The protocol's table is asked by whoever renders."""
    assert Access(KnownTokens(), AuthMode.CREATION, 500).refusal_status == 500
    assert access().refusal_status is None
