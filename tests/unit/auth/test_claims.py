"""Each claim, right and wrong."""

from typing import Any

import pytest

from tests.unit.auth.tokens import GOOD, NOW, authenticator, signed
from tusd_py.core.errors import TokenInvalid
from tusd_py.core.identity import Claims


async def read(settings: dict[str, Any] | None = None, **changes: Any) -> Claims:
    payload = {name: value for name, value in {**GOOD, **changes}.items() if value is not ...}
    return await authenticator(**(settings or {})).read_claims(signed(payload))


WRONG: dict[str, list[Any]] = {
    "exp": [..., None, "1800000060", True, [NOW], float("inf"), 10**400, NOW - 10],
    "nbf": [None, "0", False, {}, NOW + 11],
    "iat": [None, "yesterday", True],
    "video_id": [
        ...,
        None,
        True,
        False,
        "",
        " \n",
        [],
        {},
        1.5,
        [15],
        "a\nb",
        "a\x00",
        "\ud800",
        "x" * 256,
        10**30,
    ],
    "client_id": [..., None, True, "", [], {"id": 7}, 7.0],
    "max_size": [None, -1, "5", True, 1.5, 1e999, [], 1 << 63],
    "allowed_types": [
        None,
        "video/mp4",
        {},
        [5],
        [None],
        ["video"],
        ["*/mp4"],
        ["a/b\n"],
        [""],
        ["a/b"] * 65,
    ],
    "metadata": [
        None,
        [],
        "a",
        {"a": None},
        {"a": True},
        {"a": [1]},
        {"a": 1.5},
        {"token": "x"},
        {"": "x"},
        {"a b": "x"},
        {"a,b": "x"},
        {"a\n": "x"},
        {"a": "\ud800"},
        {"a": "x" * 4097},
        {str(n): 1 for n in range(65)},
    ],
    "scope": [None, 5, {}, ["create", 5], [["create"]], ["a\nb"]],
    "jti": [None, 5, "", True, "a\nb", "x" * 256],
    "once": [None, 1, "true", [], True],
    "aud": ["uploads", ["uploads"], None, 5],
}
REFUSED = [(name, value) for name, values in WRONG.items() for value in values]


@pytest.mark.parametrize(("name", "value"), REFUSED, ids=repr)
async def test_a_claim_that_is_missing_or_malformed_refuses_the_token(
    name: str, value: Any
) -> None:
    """It is never ignored, however optional it is. (``...`` stands for absent.)"""
    assert (await read()).owner.video_id == "15"
    with pytest.raises(TokenInvalid):
        await read(**{name: value})


@pytest.mark.parametrize(
    ("video_id", "text"), [(15, "15"), ("15", "15"), (" 15\n", "15"), (0, "0"), (-3, "-3")]
)
async def test_ids_are_compared_as_text(video_id: object, text: str) -> None:
    """Integers and texts of the same digits are the same id; white space does not count."""
    assert (await read(video_id=video_id)).owner.video_id == text


async def test_ids_may_have_other_names() -> None:
    """Where the tokens of somebody else's platform are used."""
    settings = {"video_claim": "https://example.org/video", "client_claim": "sub"}
    claims = await read(settings, sub="me", **{"https://example.org/video": "film"})
    assert (claims.owner.video_id, claims.owner.client_id) == ("film", "me")


@pytest.mark.parametrize(("name", "late"), [("exp", NOW - 9.5), ("nbf", NOW + 10)])
async def test_clocks_may_differ_by_the_leeway(name: str, late: float) -> None:
    """Ten seconds by default; without leeway the same token is refused."""
    changes: dict[str, Any] = {name: late}
    assert (await read(**changes)).owner.video_id == "15"
    with pytest.raises(TokenInvalid):
        await read({"leeway_seconds": 0}, **changes)


async def test_an_expired_token_is_as_good_where_expiry_is_ignored() -> None:
    """After the creation. It must have an expiry all the same, and be genuine."""
    reader = authenticator()
    expired = signed({**GOOD, "exp": 1})
    assert (await reader.read_claims(expired, ignore_expiry=True)).owner.video_id == "15"
    for token in (expired[:-2] + "AA", signed({"video_id": 15, "client_id": 7})):
        with pytest.raises(TokenInvalid):
            await reader.read_claims(token, ignore_expiry=True)


@pytest.mark.parametrize(
    ("aud", "is_good"),
    [
        ("uploads", True),
        (["other", "uploads"], True),
        ("other", False),
        (["other"], False),
        ([], False),
        (["uploads", 5], False),
        (..., False),
        ("upload", False),
    ],
)
async def test_the_audience_is_checked_where_it_is_configured(aud: Any, is_good: bool) -> None:
    """It is among those that the token names."""
    if is_good:
        assert (await read({"audience": "uploads"}, aud=aud)).owner.video_id == "15"
    else:
        with pytest.raises(TokenInvalid):
            await read({"audience": "uploads"}, aud=aud)


async def test_the_issuer_is_checked_where_it_is_configured() -> None:
    """Else it may be any."""
    assert (await read({"issuer": "me"}, iss="me")).owner.video_id == "15"
    assert (await read(iss="anybody")).owner.video_id == "15"
    for wrong in ("you", ..., None, ["me"]):
        with pytest.raises(TokenInvalid):
            await read({"issuer": "me"}, iss=wrong)


async def test_optional_claims_are_read() -> None:
    """All of them, in both notations of scope."""
    claims = await read(
        max_size=0,
        allowed_types=["video/*", "image/png"],
        metadata={"title": "Ein Film\n", "number": 5},
        scope="create append",
        jti="abc",
        once=True,
    )
    assert claims.max_bytes == 0
    assert claims.allowed_types == ("video/*", "image/png")
    assert claims.metadata == {"title": "Ein Film\n", "number": "5"}
    assert claims.scope == frozenset({"create", "append"})
    assert claims.once_id == "abc"
    assert (await read(scope=["create"])).scope == frozenset({"create"})


async def test_claims_that_are_absent_bound_nothing() -> None:
    """And a jti alone does not make a token good for one file only."""
    claims = await read(jti="abc")
    assert (claims.max_bytes, claims.allowed_types, claims.scope, claims.once_id) == (None,) * 4
    assert (await read(jti="abc", once=False)).once_id is None
    assert (await read(allowed_types=[], scope="")).scope == frozenset()
