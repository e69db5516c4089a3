"""Which tokens are believed, and that every other text is the same refusal."""

import json
import logging
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import get_default_algorithms
from pydantic import SecretStr, ValidationError

from tests.unit.auth.tokens import (
    GOOD,
    NOW,
    SECRET,
    authenticator,
    part,
    private_key,
    private_pem,
    public_pem,
    signed,
)
from tusd_py.auth.claims import ClaimsMalformed
from tusd_py.auth.jwt import MAX_TOKEN_CHARS, JwtAuthenticator, JwtSettings, load_keys, mint
from tusd_py.auth.keys import KeyRing, KeyUnusable, parse_keys
from tusd_py.core.errors import TokenInvalid
from tusd_py.core.identity import Claims, Owner
from tusd_py.core.ids import ClientId, VideoId

OWNER = Owner(VideoId("15"), ClientId("7"))
BY_KIND = [
    *[("RSA", name) for name in ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")],
    ("P-256", "ES256"),
    ("P-384", "ES384"),
    ("P-521", "ES512"),
    ("Ed25519", "EdDSA"),
]


async def assert_refused(token: str, reader: JwtAuthenticator | None = None) -> None:
    with pytest.raises(TokenInvalid) as caught:
        await (reader or authenticator()).read_claims(token)
    assert str(caught.value) == f"token invalid ({token[:12]}…)"


async def test_a_token_of_another_implementation_is_read() -> None:
    """Made with hmac and json alone; integers and texts both become texts."""
    assert (await authenticator().read_claims(signed(GOOD))).owner == OWNER


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
async def test_each_hmac_algorithm_is_read(algorithm: str) -> None:
    """PyJWT's own encoder makes the token."""
    token = jwt.encode(GOOD, SECRET, algorithm=algorithm)
    assert (await authenticator().read_claims(token)).owner == OWNER


@pytest.mark.parametrize(("kind", "algorithm"), BY_KIND)
async def test_each_asymmetric_algorithm_is_read_with_the_public_key(
    kind: str, algorithm: str
) -> None:
    """And with the private key too, which knows its public half."""
    token = jwt.encode(GOOD, private_key(kind), algorithm=algorithm)
    for pem in (public_pem(kind), private_pem(kind)):
        assert (await authenticator(pem).read_claims(token)).owner == OWNER


@pytest.mark.parametrize("token", [None, "", " \r\n\t"])
async def test_no_token_is_shown_as_null(token: str | None) -> None:
    """The platform's own text for it."""
    with pytest.raises(TokenInvalid, match=r"^token invalid \(null\)$"):
        await authenticator().read_claims(token)


async def test_white_space_around_a_token_does_not_matter() -> None:
    """Shell guides build it with echo: it ends in a newline."""
    assert (await authenticator().read_claims(f" {signed(GOOD)}\r\n")).owner == OWNER


# ------------------------------------------------------------------ nobody forges one


@pytest.mark.parametrize("kind", ["RSA", "P-256", "Ed25519"])
async def test_a_public_key_is_no_hmac_secret(kind: str) -> None:
    """The classic confusion: HS256 with the published PEM as the secret, in each spelling."""
    pem = public_pem(kind)
    for secret in (pem, pem.strip(), pem.replace(b"\n", b"\r\n")):
        await assert_refused(signed(GOOD, key=secret), authenticator(pem))


@pytest.mark.parametrize("name", ["none", "None", "NONE", "nOnE", "", None, 5, ["HS256"], {}])
async def test_an_unsigned_token_is_refused(name: object) -> None:
    """With an empty signature and with a right one."""
    await assert_refused(f"{part({'alg': name})}.{part(GOOD)}.")
    await assert_refused(signed(GOOD, header={"alg": name}))


@pytest.mark.parametrize("kind", ["RSA", "P-256"])
async def test_a_key_of_the_senders_own_is_never_looked_at(kind: str) -> None:
    """jwk, jku, x5u and x5c in the header: the token is verified by our key or not at all."""
    algorithm = "RS256" if kind == "RSA" else "ES256"
    own = private_key(kind)
    public = get_default_algorithms()[algorithm].to_jwk(own.public_key(), as_dict=True)
    headers = {"jwk": public, "jku": "https://evil.example/", "x5u": "https://evil.example/"}
    headers["x5c"] = ["MIIB"]
    token = jwt.encode(GOOD, own, algorithm=algorithm, headers=headers)
    await assert_refused(token)
    await assert_refused(token, authenticator(public_pem("P-384")))


async def test_the_header_of_a_good_token_may_hold_any_of_them() -> None:
    """Unknown header members MUST be ignored (RFC 7515, 4)."""
    token = signed(GOOD, header={"jku": "https://evil.example/", "jwk": {"kty": "oct"}})
    assert (await authenticator().read_claims(token)).owner == OWNER


@pytest.mark.parametrize(
    "header",
    [{"crit": ["exp"]}, {"crit": []}, {"b64": False, "crit": ["b64"]}, {"kid": 5}, {"kid": None}],
)
async def test_header_members_that_must_be_understood_and_are_not_refuse(
    header: dict[str, Any],
) -> None:
    """RFC 7515, 4.1.11."""
    await assert_refused(signed(GOOD, header=header))


def jwks(*named: tuple[str | None, str]) -> bytes:
    keys = [
        {"kty": "oct", "k": part(secret.encode())} | ({"kid": kid} if kid else {})
        for kid, secret in named
    ]
    return json.dumps({"keys": keys}).encode()


async def test_a_kid_chooses_its_key_and_no_other() -> None:
    """A secret that leaked under one name makes no token under another."""
    reader = authenticator(jwks(("old", SECRET), ("new", SECRET[::-1])))
    good = signed(GOOD, key=SECRET[::-1].encode(), header={"kid": "new"})
    assert (await reader.read_claims(good)).owner == OWNER
    await assert_refused(signed(GOOD, header={"kid": "new"}), reader)
    await assert_refused(signed(GOOD, header={"kid": "../../dev/null"}), reader)
    beside = authenticator(jwks((None, SECRET), ("new", SECRET[::-1])))
    await assert_refused(signed(GOOD, header={"kid": "new"}), beside)


async def test_a_token_without_kid_is_tried_with_each_key() -> None:
    """Two secrets during a rotation, neither of them named in tokens."""
    reader = authenticator(jwks((None, SECRET), ("new", SECRET[::-1])))
    for secret in (SECRET, SECRET[::-1]):
        assert (await reader.read_claims(signed(GOOD, key=secret.encode()))).owner == OWNER


async def test_an_unknown_kid_may_be_of_a_key_without_a_name() -> None:
    """A raw secret has no kid, an issuer may send one all the same."""
    token = signed(GOOD, header={"kid": "whatever"})
    assert (await authenticator().read_claims(token)).owner == OWNER


@pytest.mark.parametrize("place", range(3))
async def test_one_changed_character_anywhere_refuses(place: int) -> None:
    """Header, payload, signature."""
    parts = signed(GOOD).split(".")
    parts[place] = parts[place][:5] + ("A" if parts[place][5] != "A" else "B") + parts[place][6:]
    await assert_refused(".".join(parts))


def deep(payload: dict[str, Any], levels: int) -> bytes:
    nested = "[" * levels + "]" * levels
    return json.dumps(payload)[:-1].encode() + f', "x": {nested}}}'.encode()


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"null",
        b"[]",
        b'"text"',
        b"\xff\xfe",
        b"{",
        deep(GOOD, 2900),
        json.dumps(GOOD).encode()[:-1] + b', "video_id": 16}',
        json.dumps(GOOD).encode()[:-1] + b', "x": NaN}',
        b'{"exp": ' + b"9" * 5000 + b"}",
    ],
)
async def test_a_signed_payload_that_is_no_object_is_refused(payload: bytes) -> None:
    """Also one that nests too deep, repeats a name, or has a number that is none."""
    await assert_refused(signed(payload))


@pytest.mark.fuzz
@given(text=st.text())
def test_any_text_is_refused_and_nothing_else_happens(text: str) -> None:
    """Never another exception, and never a line break in the answer."""
    run_refused(text)


@pytest.mark.fuzz
@given(
    header=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=9),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    ),
    payload=st.binary(max_size=60),
    signature=st.binary(max_size=40),
)
def test_anything_in_the_shape_of_a_token_is_refused(
    header: object, payload: bytes, signature: bytes
) -> None:
    """Three Base64 parts of anything."""
    run_refused(f"{part(header)}.{part(payload)}.{part(signature)}")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)
OPTIONAL = ["max_size", "allowed_types", "metadata"]
NAMES = st.sampled_from(
    ["exp", "nbf", "iat", "aud", "iss", "jti", "once", "video_id", "client_id", "scope", *OPTIONAL]
)


@pytest.mark.fuzz
@given(changes=st.dictionaries(NAMES, JSON, max_size=4))
def test_whatever_a_signed_payload_holds_only_claims_or_token_invalid_come(
    changes: dict[str, Any],
) -> None:
    """The issuer is trusted, its JSON is not."""
    coroutine = authenticator().read_claims(signed({**GOOD, **changes}))
    try:
        coroutine.send(None)
    except StopIteration as done:
        claims = done.value
        assert claims.owner.video_id and claims.owner.client_id
        json.dumps(claims.metadata).encode()
    except TokenInvalid:
        pass
    finally:
        coroutine.close()


def run_refused(text: str) -> None:
    """Reading a token never waits for anything, so that no loop is needed."""
    coroutine = authenticator().read_claims(text)
    try:
        with pytest.raises(TokenInvalid) as caught:
            coroutine.send(None)
        assert str(caught.value).isprintable()
    finally:
        coroutine.close()


async def test_a_token_beyond_the_bound_is_not_decoded() -> None:
    """One that would be good but for its length."""
    long = signed({**GOOD, "x": "y" * MAX_TOKEN_CHARS})
    assert len(long) > MAX_TOKEN_CHARS
    await assert_refused(long)


async def test_the_log_tells_why_and_never_shows_the_token(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Nor any of its parts."""
    caplog.set_level(logging.DEBUG)
    token = signed({**GOOD, "exp": NOW - 11})
    await assert_refused(token)
    (record,) = caplog.records
    assert record.getMessage() == "token_refused"
    assert record.__dict__["reason"] == "exp has passed"
    shown = str(record.__dict__)
    assert not any(piece in shown for piece in token.split("."))


# ------------------------------------------------------------------ settings and keys


def test_keys_come_from_the_environment_before_the_file(tmp_path: Any) -> None:
    """A container's variable overrides the file that its configuration names."""
    file = tmp_path / "key"
    file.write_text(SECRET)
    (key,) = load_keys(JwtSettings(key_file=file), {"TUSD_PY_AUTH_KEY": SECRET[::-1]}).keys
    assert key.verifier == SECRET[::-1].encode()
    (key,) = load_keys(JwtSettings(key_file=file), {}).keys
    assert key.verifier == SECRET.encode()


def test_a_pem_in_a_variable_may_stand_on_one_line() -> None:
    """Many shells and compose files take no line ends in variables."""
    text = public_pem("RSA").decode().replace("\n", "\\n")
    (key,) = load_keys(JwtSettings(key=SecretStr(text)), {}).keys
    assert key.algorithms[0] == "RS256"


def test_no_key_at_all_stops_the_start_and_says_what_to_do() -> None:
    """The three ways out are in the text."""
    with pytest.raises(KeyUnusable, match=r"auth\.key_file.*TUSD_PY_AUTH_KEY.*token_urlsafe"):
        load_keys(JwtSettings(), {})


def test_a_short_secret_stops_the_start_and_is_not_shown() -> None:
    """31 bytes are too few for HS256."""
    with pytest.raises(KeyUnusable, match="at least 32 bytes, this one has 31") as caught:
        load_keys(JwtSettings(key=SecretStr("a-short-secret-of-31-characters")), {})
    assert "a-short" not in str(caught.value)


async def test_algorithms_can_be_narrowed() -> None:
    """A token with another algorithm of the same key is refused then."""
    settings = JwtSettings(algorithms=("HS512",), key=SecretStr(SECRET))
    reader = JwtAuthenticator(settings, load_keys(settings, {}), now=lambda: NOW)
    await assert_refused(signed(GOOD), reader)
    claims = await reader.read_claims(jwt.encode(GOOD, SECRET, algorithm="HS512"))
    assert claims.owner == OWNER


def test_algorithms_that_do_not_fit_the_key_stop_the_start() -> None:
    """Else every token would be refused, and only at run time."""
    with pytest.raises(KeyUnusable, match=r"allows RS256.*is for HS256"):
        load_keys(JwtSettings(algorithms=("RS256",), key=SecretStr(SECRET)), {})


@pytest.mark.parametrize(
    "wrong",
    [{"algorithms": ["none"]}, {"refusal_status": 401}, {"video_claim": "exp"}, {"secret": "x"}],
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    """Among them the algorithm none, and a key nobody knows."""
    with pytest.raises(ValidationError):
        JwtSettings(**wrong)


def test_settings_never_show_the_key() -> None:
    """Neither in repr nor when dumped."""
    settings = JwtSettings(key=SecretStr(SECRET))
    assert "horse" not in f"{settings!r} {settings} {settings.model_dump()}"


# ------------------------------------------------------------------ minting

WORDS = st.text("abcdefgh", min_size=1, max_size=8)
CLAIMS = st.builds(
    Claims,
    owner=st.builds(Owner, WORDS.map(VideoId), WORDS.map(ClientId)),
    max_bytes=st.none() | st.integers(0, 1 << 60),
    allowed_types=st.none() | st.lists(st.sampled_from(["video/*", "image/png"])).map(tuple),
    metadata=st.dictionaries(WORDS, st.text(st.characters(codec="utf-8"), max_size=20), max_size=3),
    scope=st.none() | st.frozensets(st.sampled_from(["create", "append", "read"])),
    once_id=st.none() | WORDS,
)


@given(claims=CLAIMS)
def test_a_minted_token_is_read_as_what_it_was_made_of(claims: Claims) -> None:
    """With the audience and issuer that are configured."""
    settings = JwtSettings(audience="uploads", issuer="me")
    keys = KeyRing(parse_keys(SECRET.encode()))
    reader = JwtAuthenticator(settings, keys, now=lambda: NOW)
    coroutine = reader.read_claims(mint(keys, claims, settings, now=NOW))
    with pytest.raises(StopIteration) as done:
        coroutine.send(None)
    assert done.value.value == claims


@pytest.mark.parametrize("kind", ["RSA", "P-256", "Ed25519"])
async def test_private_keys_mint_what_the_public_key_reads(kind: str) -> None:
    """The server needs the public half only."""
    token = mint(KeyRing(parse_keys(private_pem(kind))), Claims(OWNER), JwtSettings(), now=NOW)
    assert (await authenticator(public_pem(kind)).read_claims(token)).owner == OWNER


async def test_a_minted_token_lives_four_hours_or_as_long_as_asked() -> None:
    """By the reader's clock, leeway aside."""
    keys, settings = KeyRing(parse_keys(SECRET.encode())), JwtSettings(leeway_seconds=0)
    for asked, life in ((None, 4 * 3600), (90, 90)):
        token = mint(keys, Claims(OWNER), settings, now=NOW, seconds=asked)
        for age, is_good in ((life - 1, True), (life, False)):
            reader = JwtAuthenticator(settings, keys, now=lambda age=age: NOW + age)  # type: ignore[misc]
            if is_good:
                assert (await reader.read_claims(token)).owner == OWNER
            else:
                await assert_refused(token, reader)


async def test_a_minted_token_names_its_key() -> None:
    """So that a ring of several keys finds it at once."""
    keys = KeyRing(parse_keys(jwks(("old", SECRET), ("new", SECRET[::-1]))))
    token = mint(keys, Claims(OWNER), JwtSettings(), now=NOW, kid="new")
    assert jwt.get_unverified_header(token)["kid"] == "new"


def test_a_public_key_cannot_mint() -> None:
    """And the text says what could."""
    keys = KeyRing(parse_keys(public_pem("RSA")))
    with pytest.raises(KeyUnusable, match="private key"):
        mint(keys, Claims(OWNER), JwtSettings(), now=NOW)


def test_nothing_is_minted_that_could_not_be_read() -> None:
    """An empty video would be refused at each upload."""
    keys = KeyRing(parse_keys(SECRET.encode()))
    with pytest.raises(ClaimsMalformed, match="video_id"):
        mint(keys, Claims(Owner(VideoId(" "), ClientId("7"))), JwtSettings(), now=NOW)
