"""Keys that verify tokens, and what each may be used for.

The algorithms of a key follow from its kind and size alone, never from a token: that is what makes
algorithm confusion and ``none`` impossible. A key is a raw secret, a PEM, a JWK or a JWKS.
"""

import json
import logging
import os
import re
import secrets
import stat
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key
from jwt import PyJWTError
from jwt.algorithms import ECAlgorithm, HMACAlgorithm, OKPAlgorithm, RSAAlgorithm

log = logging.getLogger(__name__)

Algorithm = Literal[
    "HS256", "HS384", "HS512",
    "RS256", "RS384", "RS512",
    "PS256", "PS384", "PS512",
    "ES256", "ES384", "ES512",
    "EdDSA",
]  # fmt: skip

HMAC_MIN_BYTES: Final = 32
# RFC 7518, 3.2: "A key of the same size as the hash output […] or larger MUST be used".
HMAC_BY_BYTES: Final = (("HS256", 32), ("HS384", 48), ("HS512", 64))
RSA_MIN_BITS: Final = 2048
RSA_ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
EC_ALGORITHMS: Final = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
MAX_KEY_FILE_BYTES: Final = 256 * 1024
MAX_KEYS: Final = 64
DEVELOPMENT_KEY_BYTES: Final = 48
"""Randomness of a development key; as Base64 it has 64 bytes, enough for HS512."""

MAKE_A_SECRET: Final = "python3 -c 'import secrets; print(secrets.token_urlsafe(48))'"

_PEM_BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)


class KeyUnusable(ValueError):
    """Keys with which the server must not start. The text tells the operator what to do."""


@dataclass(frozen=True, slots=True, eq=False)
class Key:
    """One key. What it is made of is never shown."""

    algorithms: tuple[str, ...]
    """What it may verify; the first is what it signs with."""
    verifier: Any = field(repr=False)
    signer: Any = field(default=None, repr=False)
    """None: a public key, which cannot mint."""
    kid: str | None = None

    @property
    def is_secret(self) -> bool:
        """Whoever reads it can make tokens."""
        return self.signer is not None


class KeyRing:
    """All keys that tokens may be signed with."""

    def __init__(self, keys: Sequence[Key]) -> None:
        if not keys:
            raise KeyUnusable("there is no usable key")
        if len(keys) > MAX_KEYS:
            raise KeyUnusable(f"there are {len(keys)} keys, more than {MAX_KEYS}")
        self._keys = tuple(keys)

    def __repr__(self) -> str:
        return f"KeyRing({list(self._keys)!r})"

    @property
    def keys(self) -> Sequence[Key]:
        return self._keys

    def candidates(self, *, kid: str | None, algorithm: str) -> list[Key]:
        """Keys that may have signed a token with this header.

        A ``kid`` names its key; where no key has that name, and where the token has none, keys
        are told apart by trying them. The algorithm must be one of the key's own in any case.
        """
        fitting = [key for key in self._keys if algorithm in key.algorithms]
        if kid is None:
            return fitting
        named = [key for key in fitting if key.kid == kid]
        return named or [key for key in fitting if key.kid is None]

    def signing_key(self, kid: str | None = None) -> Key:
        """The first key that can mint (or the one named). Raises KeyUnusable."""
        for key in self._keys:
            if key.is_secret and kid in (None, key.kid):
                return key
        raise KeyUnusable(
            "none of the keys can sign: minting takes an HMAC secret or a private key"
            if kid is None
            else f"no key with the kid {kid!r} can sign"
        )

    def narrowed(self, algorithms: Collection[str]) -> "KeyRing":
        """The same keys for these algorithms only. Raises KeyUnusable where a key has none left."""
        kept = []
        for key in self._keys:
            left = tuple(name for name in key.algorithms if name in algorithms)
            if not left:
                raise KeyUnusable(
                    f"auth.algorithms allows {', '.join(algorithms)}, but a key"
                    f"{f' (kid {key.kid})' if key.kid else ''} is for {', '.join(key.algorithms)}"
                )
            kept.append(replace(key, algorithms=left))
        return KeyRing(kept)


def parse_keys(content: bytes) -> list[Key]:
    """The keys that ``content`` holds: a PEM, a JWK or JWKS document, else a raw secret.

    Raises KeyUnusable; its text never quotes the content.
    """
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return [_hmac_key(content)]  # random bytes: every one of them counts
    if "-----BEGIN " in text:
        return _parse_pem(text)
    if text.lstrip().startswith("{"):
        return _parse_jwks(text)
    return [_hmac_key(text.rstrip("\r\n").encode())]


def _hmac_key(secret: bytes, kid: str | None = None) -> Key:
    if len(secret) < HMAC_MIN_BYTES:
        raise KeyUnusable(
            f"an HMAC secret needs at least {HMAC_MIN_BYTES} bytes, this one has {len(secret)}; "
            f"make one with: {MAKE_A_SECRET}"
        )
    try:
        HMACAlgorithm(HMACAlgorithm.SHA256).prepare_key(secret)
    except PyJWTError as exc:
        raise KeyUnusable("this looks like a public key or certificate, not a secret") from exc
    names = tuple(name for name, least in HMAC_BY_BYTES if len(secret) >= least)
    return Key(names, secret, secret, kid)


def _parse_pem(text: str) -> list[Key]:
    keys = []
    for block in _PEM_BLOCK.finditer(text):
        if block[1] == "EC PARAMETERS":  # openssl writes the curve's name before the key
            continue
        keys.append(_asymmetric_key(_load_pem(block[1], block[0].encode())))
    if not keys:
        raise KeyUnusable("this begins like a PEM file, but no key in it is complete")
    return keys


def _load_pem(label: str, block: bytes) -> object:
    if label == "CERTIFICATE":
        raise KeyUnusable(
            "this is a certificate; take its public key with: openssl x509 -pubkey -noout"
        )
    try:
        if "PRIVATE" in label:
            return load_pem_private_key(block, password=None)
        return load_pem_public_key(block)
    except TypeError as exc:
        raise KeyUnusable("the private key is encrypted; give one without a password") from exc
    except (ValueError, UnsupportedAlgorithm) as exc:
        raise KeyUnusable(f"the PEM block {label} cannot be read") from exc


def _asymmetric_key(material: object, kid: str | None = None) -> Key:
    match material:
        case rsa.RSAPrivateKey() | ec.EllipticCurvePrivateKey() | ed25519.Ed25519PrivateKey():
            public = material.public_key()
            return Key(_algorithms_of(public), public, material, kid)
        case _:
            return Key(_algorithms_of(material), material, None, kid)


def _algorithms_of(public: object) -> tuple[str, ...]:
    match public:
        case rsa.RSAPublicKey():
            if public.key_size < RSA_MIN_BITS:
                raise KeyUnusable(
                    f"an RSA key needs at least {RSA_MIN_BITS} bits, this one has {public.key_size}"
                )
            return RSA_ALGORITHMS
        case ec.EllipticCurvePublicKey() if public.curve.name in EC_ALGORITHMS:
            return (EC_ALGORITHMS[public.curve.name],)
        case ed25519.Ed25519PublicKey():
            return ("EdDSA",)
        case _:
            raise KeyUnusable(
                "keys may be RSA, EC (P-256, P-384, P-521) or Ed25519; this is another kind"
            )


def _parse_jwks(text: str) -> list[Key]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise KeyUnusable("this begins like a JWK, but it is not JSON") from exc
    entries = document.get("keys")
    if entries is None:
        return [_parse_jwk(document)]
    if not isinstance(entries, list):
        raise KeyUnusable('"keys" of a JWKS document must be a list')
    keys = []
    for number, entry in enumerate(entries[: MAX_KEYS + 1], 1):
        try:
            keys.append(_parse_jwk(entry))
        except KeyUnusable as exc:
            # RFC 7517, 5: "Implementations SHOULD ignore JWKs […] that use "kty" […] values that
            # are not understood by them".
            log.warning("auth_key_skipped", extra={"number": number, "reason": str(exc)})
    if not keys:
        raise KeyUnusable("the JWKS document holds no usable key")
    return keys


def _parse_jwk(entry: object) -> Key:
    if not isinstance(entry, dict):
        raise KeyUnusable("a JWK must be a JSON object")
    kid, use, operations = entry.get("kid"), entry.get("use", "sig"), entry.get("key_ops")
    if kid is not None and not isinstance(kid, str):
        raise KeyUnusable("the kid of a JWK must be text")
    if use != "sig" or (isinstance(operations, list) and not {"verify", "sign"} & {*operations}):
        raise KeyUnusable("this JWK is not for signatures (its use or key_ops)")
    key = _jwk_material(entry, kid)
    named = entry.get("alg")
    if named is None:
        return key
    if named not in key.algorithms:
        raise KeyUnusable(f"this JWK's alg must be one of {', '.join(key.algorithms)}")
    return replace(key, algorithms=(named,))


def _jwk_material(entry: Mapping[str, Any], kid: str | None) -> Key:
    readers = {"RSA": RSAAlgorithm.from_jwk, "EC": ECAlgorithm.from_jwk}
    readers["OKP"] = OKPAlgorithm.from_jwk  # type: ignore[assignment]
    kind = entry.get("kty")
    try:
        if kind == "oct":
            return _hmac_key(HMACAlgorithm.from_jwk(dict(entry)), kid)
        if kind in readers:
            return _asymmetric_key(readers[kind](dict(entry)), kid)
    except KeyUnusable:
        raise
    except (PyJWTError, UnsupportedAlgorithm, ValueError, LookupError, TypeError) as exc:
        raise KeyUnusable(f"this JWK (kty {kind}) is incomplete or malformed") from exc
    raise KeyUnusable("a JWK must have a kty of oct, RSA, EC or OKP")


def read_key_file(path: Path) -> list[Key]:
    """The keys in a file. Blocking: called at start. Raises KeyUnusable, naming the file."""
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            content = file.read(MAX_KEY_FILE_BYTES + 1)
    except OSError as exc:
        raise KeyUnusable(f"the key file {path} cannot be read: {exc.strerror}") from exc
    if len(content) > MAX_KEY_FILE_BYTES:
        raise KeyUnusable(f"the key file {path} has more than {MAX_KEY_FILE_BYTES} bytes")
    try:
        keys = parse_keys(content)
    except KeyUnusable as exc:
        raise KeyUnusable(f"the key file {path}: {exc}") from exc
    if mode & stat.S_IROTH and any(key.is_secret for key in keys):
        log.warning("auth_key_file_readable_by_all", extra={"path": str(path), "mode": oct(mode)})
    return keys


def create_development_key(path: Path) -> bool:
    """Make a random secret at ``path`` unless there is one; True: it was made now.

    The file appears complete, with owner-only rights, or not at all: of two servers that start at
    once both use the same key. Blocking: called at start. Raises KeyUnusable.
    """
    if path.exists():
        return False
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(secrets.token_urlsafe(DEVELOPMENT_KEY_BYTES) + "\n")
                file.flush()
                os.fsync(file.fileno())
            return _link_new(draft, path)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as exc:
        raise KeyUnusable(
            f"no development key can be made at {path} ({exc.strerror}); "
            f"set auth.key_file to a file with a secret of your own: {MAKE_A_SECRET}"
        ) from exc


def _link_new(draft: Path, path: Path) -> bool:
    """A link never replaces a file: the second of two servers finds the first one's key."""
    try:
        os.link(draft, path)
    except FileExistsError:
        return False
    return True
