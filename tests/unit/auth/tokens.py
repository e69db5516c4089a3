"""Keys of every kind, and tokens made by hand: what a test needs to forge one."""

import base64
import hashlib
import hmac
import json
from functools import cache
from typing import Any, Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from tusd_py.auth.jwt import JwtAuthenticator, JwtSettings
from tusd_py.auth.keys import KeyRing, parse_keys

NOW: Final = 1_800_000_000.0
SECRET: Final = "correct horse battery staple, and then some more of it: 64 bytes!!"
GOOD: Final[dict[str, Any]] = {"video_id": 15, "client_id": "7", "exp": NOW + 60}

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


@cache
def private_key(kind: str) -> PrivateKey:
    """One key of each kind for the whole run: RSA keys take long to make."""
    match kind:
        case "RSA":
            return rsa.generate_private_key(public_exponent=65537, key_size=2048)
        case "P-256":
            return ec.generate_private_key(ec.SECP256R1())
        case "P-384":
            return ec.generate_private_key(ec.SECP384R1())
        case "P-521":
            return ec.generate_private_key(ec.SECP521R1())
        case _:
            return ed25519.Ed25519PrivateKey.generate()


def private_pem(kind: str) -> bytes:
    return private_key(kind).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def public_pem(kind: str) -> bytes:
    return (
        private_key(kind)
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


def part(value: object) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def signed(
    payload: object, *, key: bytes = SECRET.encode(), header: dict[str, Any] | None = None
) -> str:
    """A token signed with HMAC-SHA256 by nothing but the standard library, whatever it says."""
    text = f"{part({'alg': 'HS256', **(header or {})})}.{part(payload)}"
    return f"{text}.{part(hmac.digest(key, text.encode(), hashlib.sha256))}"


def authenticator(content: bytes = SECRET.encode(), **settings: Any) -> JwtAuthenticator:
    ring = KeyRing(parse_keys(content))
    return JwtAuthenticator(JwtSettings(**settings), ring, now=lambda: NOW)
