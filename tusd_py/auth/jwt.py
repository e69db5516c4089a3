"""Tokens as JWT: the settings, the authenticator, and how a token is made.

To the client every fault of a token is the same "token invalid (…)"; the log says which it was.
"""

import json
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Literal, get_args

from jwt import PyJWS, PyJWTError
from pydantic import Field, SecretStr, field_validator

from tusd_py.auth.base import Authenticator, AuthMode
from tusd_py.auth.claims import (
    ClaimsMalformed,
    Expected,
    build_claims,
    build_payload,
    check_parties,
    check_times,
    parse_payload,
)
from tusd_py.auth.keys import (
    MAKE_A_SECRET,
    Algorithm,
    KeyRing,
    KeyUnusable,
    parse_keys,
    read_key_file,
)
from tusd_py.core.errors import TokenInvalid
from tusd_py.core.identity import Claims, show_token
from tusd_py.settings import Settings

log = logging.getLogger(__name__)

MAX_TOKEN_CHARS: Final = 8 * 1024
KEY_VARIABLE: Final = "TUSD_PY_AUTH_KEY"
REGISTERED: Final = frozenset(
    {"exp", "nbf", "iat", "iss", "aud", "jti", "once", "scope", "max_size", "metadata"}
    | {"allowed_types"}
)

# Only what a key may be used for is known at all: "none" has no name here.
_JWS = PyJWS(algorithms=list(get_args(Algorithm)))


class JwtSettings(Settings):
    """[auth]: who may upload."""

    mode: AuthMode = AuthMode.CREATION
    """When a token is needed: "creation", "every-request" or "off"."""
    key_file: Path | None = None
    """A file with the key that verifies tokens: a raw secret (HMAC, 32 bytes or more), a PEM, or a
    JWK or JWKS document."""
    key: SecretStr | None = None
    """The key itself, best given by the environment (TUSD_PY_AUTH_KEY); it wins over key_file."""
    algorithms: tuple[Algorithm, ...] = ()
    """Allow only these; empty: all that fit the kind and size of the key."""
    audience: str | None = Field(default=None, min_length=1)
    """What aud must name. While it is not set, a token that has an aud is refused (RFC 7519)."""
    issuer: str | None = Field(default=None, min_length=1)
    """What iss must be."""
    leeway_seconds: float = Field(default=10.0, ge=0, le=600)
    """How far clocks may differ where exp and nbf are judged."""
    video_claim: str = Field(default="video_id", min_length=1, max_length=128)
    """The claim that names the video."""
    client_claim: str = Field(default="client_id", min_length=1, max_length=128)
    """The claim that names the client."""
    refusal_status: Literal[500] | None = None
    """500 answers refused tokens as the original platform does; not set: 401 and 403."""
    token_seconds: int = Field(default=4 * 3600, ge=1, le=366 * 86400)
    """How long a token lives that `tusd-py token` makes."""

    @field_validator("video_claim", "client_claim")
    @classmethod
    def _has_a_name_of_its_own(cls, name: str) -> str:
        if name in REGISTERED:
            raise ValueError(f"the claim {name} has another meaning already")
        return name

    @property
    def expected(self) -> Expected:
        return Expected(
            video_claim=self.video_claim,
            client_claim=self.client_claim,
            audience=self.audience,
            issuer=self.issuer,
            leeway_seconds=self.leeway_seconds,
        )


def load_keys(settings: JwtSettings, environ: Mapping[str, str]) -> KeyRing:
    """The keys that the settings name. Blocking: called at start. Raises KeyUnusable."""
    text = settings.key.get_secret_value() if settings.key else environ.get(KEY_VARIABLE, "")
    if text:
        if settings.key_file is not None:
            log.warning("auth_key_file_unused", extra={"path": str(settings.key_file)})
        try:
            # A variable holds a PEM on one line only with its line ends spelled out.
            keys = parse_keys(text.replace("\\n", "\n").encode() if "-----" in text else _raw(text))
        except KeyUnusable as exc:
            raise KeyUnusable(f"auth.key ({KEY_VARIABLE}): {exc}") from exc
    elif settings.key_file is not None:
        keys = read_key_file(settings.key_file)
    else:
        raise KeyUnusable(
            f'auth.mode is "{settings.mode}" and there is no key: set auth.key_file or '
            f"{KEY_VARIABLE}; a secret of one's own is made with: {MAKE_A_SECRET}"
        )
    ring = KeyRing(keys)
    return ring.narrowed(settings.algorithms) if settings.algorithms else ring


def _raw(text: str) -> bytes:
    # os.environ holds bytes that are not UTF-8 as surrogates.
    return text.encode("utf-8", "surrogateescape")


class JwtAuthenticator(Authenticator):
    """Reads tokens that one of the keys has signed."""

    settings_type = JwtSettings

    def __init__(
        self, settings: JwtSettings, keys: KeyRing, *, now: Callable[[], float] = time.time
    ) -> None:
        self._expected = settings.expected
        self._keys = keys
        self._now = now

    async def read_claims(self, token: str | None, *, ignore_expiry: bool = False) -> Claims:
        text = token.strip() if token else ""
        try:
            return self._read(text, ignore_expiry=ignore_expiry)
        except ClaimsMalformed as exc:
            # The reason names a claim or a step and never quotes the token.
            log.info("token_refused", extra={"reason": str(exc)})
            raise TokenInvalid(show_token(text)) from exc

    def _read(self, token: str, *, ignore_expiry: bool) -> Claims:
        payload = parse_payload(self._verified(token))
        check_times(payload, self._expected, now=self._now(), ignore_expiry=ignore_expiry)
        check_parties(payload, self._expected)
        return build_claims(payload, self._expected)

    def _verified(self, token: str) -> bytes:
        """The payload, once one of the keys has been found to have signed it."""
        if not token:
            raise ClaimsMalformed("there is no token")
        if len(token) > MAX_TOKEN_CHARS:
            raise ClaimsMalformed("the token is too long")
        if not token.isascii():
            raise ClaimsMalformed("the token is not ASCII")
        try:
            header = _JWS.get_unverified_header(token)
        except PyJWTError as exc:
            raise ClaimsMalformed("the token is not a JWT") from exc
        # Of the header only alg and kid count, and they only choose among our own keys: jku, jwk,
        # x5u and x5c are never looked at.
        algorithm, kid = header.get("alg"), header.get("kid")
        if not isinstance(algorithm, str):
            raise ClaimsMalformed("alg is not text")
        candidates = self._keys.candidates(kid=kid, algorithm=algorithm)
        for key in candidates:
            try:
                verified = _JWS.decode_complete(token, key.verifier, algorithms=[algorithm])
            except PyJWTError:
                continue
            payload: bytes = verified["payload"]
            return payload
        raise ClaimsMalformed(
            "no key has signed it" if candidates else "no key is for its alg and kid"
        )


def mint(
    keys: KeyRing,
    claims: Claims,
    settings: JwtSettings,
    *,
    now: float,
    seconds: float | None = None,
    kid: str | None = None,
) -> str:
    """A token that says ``claims`` and lives ``seconds`` (else ``token_seconds``).

    Raises KeyUnusable where no key can sign, ClaimsMalformed where the claims could not be read
    back.
    """
    key = keys.signing_key(kid)
    payload: dict[str, Any] = build_payload(claims, settings.expected)
    build_claims(payload, settings.expected)
    life = settings.token_seconds if seconds is None else seconds
    payload |= {"iat": int(now), "exp": int(now + life)}
    headers = {"kid": key.kid} if key.kid else None
    text = json.dumps(payload, separators=(",", ":")).encode()
    return _JWS.encode(text, key.signer, algorithm=key.algorithms[0], headers=headers)
