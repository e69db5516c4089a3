"""Owners, what of a token may be shown, and the binding of token and metadata."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tusd_py.core.errors import (
    ClientMismatch,
    TokenInvalid,
    TokenTooNarrow,
    TypeNotAllowed,
    UploadError,
    VideoMismatch,
)
from tusd_py.core.identity import (
    ANYBODY,
    Claims,
    Owner,
    Principal,
    check_binding,
    check_owner,
    check_type,
    show_token,
)
from tusd_py.core.ids import ClientId, VideoId
from tusd_py.core.metadata import Metadata, build_pairs

OWNER = Owner(VideoId("A"), ClientId("7"))


def metadata(**values: str) -> Metadata:
    return build_pairs({key: value.encode() for key, value in values.items()})


@pytest.mark.parametrize(
    ("token", "shown"),
    [
        (None, "null"),
        ("", "null"),
        ("eyJhbGciOiJIUzI1NiJ9", "eyJhbGciOiJI…"),
        ("short", "short…"),
        ("a b\r\nc\x00d\x7f\xe4", "a?b??c?d??…"),
    ],
)
def test_of_a_token_its_beginning_is_shown(token: str | None, shown: str) -> None:
    """Twelve characters, and none that could end a line."""
    assert show_token(token) == shown


@given(st.text(min_size=1))
def test_never_more_than_twelve_characters_and_only_printable_ones_are_shown(token: str) -> None:
    """Whatever the client sent."""
    shown = show_token(token)
    assert shown.endswith("…") and len(shown) <= 13
    assert shown[:-1].isascii() and shown.isprintable()


@pytest.mark.parametrize("in_metadata", [True, False])
@pytest.mark.parametrize(
    ("said", "error", "text"),
    [
        ({"video_id": "B"}, VideoMismatch, "token video (A) does not match this video (B)"),
        ({"client_id": "8"}, ClientMismatch, "token client (7) does not match this client (8)"),
        (
            {"video_id": "B", "client_id": "8"},
            VideoMismatch,
            "token video (A) does not match this video (B)",
        ),
        ({"video_id": "a"}, VideoMismatch, "token video (A) does not match this video (a)"),
    ],
)
def test_ids_that_differ_are_refused_by_name(
    in_metadata: bool, said: dict[str, str], error: type[UploadError], text: str
) -> None:
    """A is the token's, B the metadata's; the video is compared first."""
    with pytest.raises(error) as caught:
        check_binding(
            Claims(OWNER),
            metadata(**({"video_id": "A", "client_id": "7"} | said)),
            token_in_metadata=in_metadata,
        )
    assert str(caught.value) == text


@pytest.mark.parametrize("absent", ["video_id", "client_id"])
def test_a_key_may_be_absent_only_where_the_token_is_in_the_header(absent: str) -> None:
    """Partial uploads carry no metadata; the platform's own clients carry both keys."""
    said = {"video_id": "A", "client_id": "7"}
    said.pop(absent)
    check_binding(Claims(OWNER), metadata(**said), token_in_metadata=False)
    with pytest.raises(TokenInvalid, match=r"^token invalid \(null\)$"):
        check_binding(Claims(OWNER), metadata(**said), token_in_metadata=True)


@given(st.text(st.characters(codec="utf-8"), min_size=1).filter(lambda text: text.strip() != "A"))
def test_a_refusal_quotes_metadata_only_short_and_printable(video_id: str) -> None:
    """Client text in an answer and a log."""
    try:
        check_binding(Claims(OWNER), metadata(video_id=video_id), token_in_metadata=False)
    except VideoMismatch as refusal:
        assert str(refusal).isprintable() and len(str(refusal)) < 130
    else:
        assert not video_id.strip()


def test_an_owner_has_all_of_its_own_and_nothing_of_others() -> None:
    """Nobody in particular has the URL, which is enough where it got here."""
    check_owner(ANYBODY, OWNER)
    check_owner(Principal(Claims(OWNER)), OWNER)
    with pytest.raises(VideoMismatch):
        check_owner(Principal(Claims(Owner(VideoId("B"), ClientId("7")))), OWNER)
    with pytest.raises(ClientMismatch):
        check_owner(Principal(Claims(Owner(VideoId("A"), ClientId("8")))), OWNER)


@pytest.mark.parametrize(
    ("allowed", "filetype", "is_allowed"),
    [
        (None, None, True),
        (("video/mp4",), "video/mp4", True),
        (("Video/*",), " VIDEO/quicktime ; a=b", True),
        (("*/*",), "x/y", True),
        (("video/*",), "videos/mp4", False),
        (("video/*",), "video", False),
        (("*/*",), None, False),
        (("*/*",), "", False),
        ((), "video/mp4", False),
    ],
)
def test_a_type_is_allowed_by_itself_or_by_its_family(
    allowed: tuple[str, ...] | None, filetype: str | None, is_allowed: bool
) -> None:
    """Case and parameters do not count; a file without a type is of no allowed type."""
    said = metadata() if filetype is None else metadata(filetype=filetype)
    if is_allowed:
        check_type(Claims(OWNER, allowed_types=allowed), said)
    else:
        with pytest.raises(TypeNotAllowed):
            check_type(Claims(OWNER, allowed_types=allowed), said)


def test_a_scope_is_needed_where_the_token_names_any() -> None:
    """No scopes: all of them. No token: nothing to narrow."""
    ANYBODY.require_scope("create")
    Principal(Claims(OWNER)).require_scope("create")
    Principal(Claims(OWNER, scope=frozenset({"create"}))).require_scope("create")
    with pytest.raises(TokenTooNarrow, match="scope read"):
        Principal(Claims(OWNER, scope=frozenset({"create"}))).require_scope("read")
