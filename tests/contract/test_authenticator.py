"""What every authenticator promises, whatever its tokens look like."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.auth.tokens import SECRET, private_pem
from tusd_py.auth.base import Authenticator
from tusd_py.auth.jwt import JwtAuthenticator, JwtSettings, mint
from tusd_py.auth.keys import KeyRing, parse_keys
from tusd_py.core.errors import TokenInvalid
from tusd_py.core.identity import Claims, Owner, show_token
from tusd_py.core.ids import ClientId, VideoId

CLAIMS = Claims(Owner(VideoId("film"), ClientId("me")), max_bytes=5, metadata={"title": "ä"})


@dataclass(frozen=True)
class Rig:
    """An authenticator, and how tokens for it are made: claims and seconds to live."""

    authenticator: Authenticator
    issue: Callable[[Claims, float], str]


def jwt_rig(key: bytes) -> Rig:
    ring, how = KeyRing(parse_keys(key)), JwtSettings(leeway_seconds=0)

    def issue(claims: Claims, seconds: float) -> str:
        return mint(ring, claims, how, now=time.time(), seconds=seconds)

    return Rig(JwtAuthenticator(how, ring), issue)


RIGS: dict[str, Callable[[], Rig]] = {
    "jwt with a secret": lambda: jwt_rig(SECRET.encode()),
    "jwt with RSA": lambda: jwt_rig(private_pem("RSA")),
    "jwt with an EC key": lambda: jwt_rig(private_pem("P-256")),
    "jwt with Ed25519": lambda: jwt_rig(private_pem("Ed25519")),
}


@pytest.fixture(params=sorted(RIGS))
def rig(request: pytest.FixtureRequest) -> Rig:
    return RIGS[request.param]()


class TestAuthenticator:
    async def test_it_reads_what_was_issued(self, rig: Rig) -> None:
        """All claims, white space around the token aside."""
        token = rig.issue(CLAIMS, 60)
        assert await rig.authenticator.read_claims(f" {token}\n") == CLAIMS

    async def test_an_expired_token_counts_only_where_expiry_is_ignored(self, rig: Rig) -> None:
        """It is presented again after the creation."""
        token = rig.issue(CLAIMS, -1)
        with pytest.raises(TokenInvalid):
            await rig.authenticator.read_claims(token)
        assert await rig.authenticator.read_claims(token, ignore_expiry=True) == CLAIMS

    @pytest.mark.parametrize("nothing", [None, "", " ", "\r\n"])
    async def test_no_token_is_null(self, rig: Rig, nothing: str | None) -> None:
        """Expiry ignored or not."""
        for ignore_expiry in (False, True):
            with pytest.raises(TokenInvalid) as caught:
                await rig.authenticator.read_claims(nothing, ignore_expiry=ignore_expiry)
            assert str(caught.value) == "token invalid (null)"

    async def test_a_token_of_another_issuer_is_refused(self, rig: Rig) -> None:
        """Whatever it says, and also where expiry does not matter."""
        token = jwt_rig(b"somebody else's secret, 32 bytes or more").issue(CLAIMS, 60)
        for ignore_expiry in (False, True):
            with pytest.raises(TokenInvalid):
                await rig.authenticator.read_claims(token, ignore_expiry=ignore_expiry)

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
    @given(text=st.text(), ignore_expiry=st.booleans())
    async def test_any_text_is_refused_and_nothing_else_is_raised(
        self, rig: Rig, text: str, ignore_expiry: bool
    ) -> None:
        """The answer shows its beginning only."""
        with pytest.raises(TokenInvalid) as caught:
            await rig.authenticator.read_claims(text, ignore_expiry=ignore_expiry)
        assert str(caught.value) == f"token invalid ({show_token(text.strip())})"

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
    @given(data=st.data())
    async def test_no_change_of_a_token_is_accepted(self, rig: Rig, data: st.DataObject) -> None:
        """One character anywhere becomes another printable one."""
        token = rig.issue(CLAIMS, 60)
        place = data.draw(st.integers(0, len(token) - 1))
        other = data.draw(st.characters(min_codepoint=0x21, max_codepoint=0x7E))
        changed = token[:place] + other + token[place + 1 :]
        if changed != token:
            with pytest.raises(TokenInvalid):
                await rig.authenticator.read_claims(changed)
