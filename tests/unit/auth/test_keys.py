"""Which keys are taken, and what each may be used for."""

import json
import logging
import os
import stat
import threading
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from jwt.algorithms import get_default_algorithms

from tests.unit.auth.tokens import SECRET, part, private_key, private_pem, public_pem
from tusd_py.auth.keys import (
    MAX_KEY_FILE_BYTES,
    KeyRing,
    KeyUnusable,
    create_development_key,
    parse_keys,
    read_key_file,
)

RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")


@pytest.mark.parametrize(
    ("secret", "algorithms"),
    [
        pytest.param(b"x" * 32, ("HS256",), id="32 bytes"),
        pytest.param(b"x" * 48, ("HS256", "HS384"), id="48 bytes"),
        pytest.param(b"x" * 64 + b"\r\n", ("HS256", "HS384", "HS512"), id="64 and a line end"),
        pytest.param(bytes(range(128, 192)), ("HS256", "HS384", "HS512"), id="not text"),
    ],
)
def test_the_length_of_a_secret_decides_its_algorithms(
    secret: bytes, algorithms: tuple[str, ...]
) -> None:
    """RFC 7518, 3.2; a line end is not part of a text."""
    (key,) = parse_keys(secret)
    assert key.algorithms == algorithms
    assert key.verifier == secret.strip(b"\r\n")


def test_a_secret_keeps_its_inner_and_its_other_white_space() -> None:
    """Only the line end that editors add is taken away; bytes that are no text stay whole."""
    (key,) = parse_keys(b" " + b"x" * 32 + b" \n")
    assert key.verifier == b" " + b"x" * 32 + b" "
    (key,) = parse_keys(b"\xff" * 32 + b"\n")
    assert len(key.verifier) == 33


@pytest.mark.parametrize(
    ("kind", "algorithms"),
    [
        ("RSA", RSA),
        ("P-256", ("ES256",)),
        ("P-384", ("ES384",)),
        ("P-521", ("ES512",)),
        ("Ed25519", ("EdDSA",)),
    ],
)
def test_the_kind_of_a_key_decides_its_algorithms(kind: str, algorithms: tuple[str, ...]) -> None:
    """Public and private alike, as PEM and as JWK; only the private one can sign."""
    name = algorithms[0]
    public = get_default_algorithms()[name].to_jwk(private_key(kind).public_key(), as_dict=True)
    private = get_default_algorithms()[name].to_jwk(private_key(kind), as_dict=True)
    for content in (public_pem(kind), json.dumps(public).encode()):
        (key,) = parse_keys(content)
        assert (key.algorithms, key.is_secret) == (algorithms, False)
    for content in (private_pem(kind), json.dumps(private).encode()):
        (key,) = parse_keys(content)
        assert (key.algorithms, key.is_secret) == (algorithms, True)


def pem(key: Any, password: bytes | None = None) -> bytes:
    locked: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password:
        locked = serialization.BestAvailableEncryption(password)
    encoded: bytes = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked
    )
    return encoded


JWK: dict[str, Any] = {"kty": "oct", "k": part(SECRET.encode())}


@pytest.mark.parametrize(
    ("content", "why"),
    [
        pytest.param(b"", "at least 32 bytes, this one has 0", id="empty"),
        pytest.param(b"secret\n", "at least 32 bytes, this one has 6", id="short"),
        pytest.param(b"x" * 31 + b"\n", "this one has 31", id="a line end does not count"),
        pytest.param(
            pem(rsa.generate_private_key(public_exponent=65537, key_size=1024)),
            "at least 2048 bits, this one has 1024",
            id="small RSA",
        ),
        pytest.param(pem(ec.generate_private_key(ec.SECP256K1())), "another kind", id="secp256k1"),
        pytest.param(pem(dsa.generate_private_key(1024)), "another kind", id="DSA"),
        pytest.param(pem(private_key("P-256"), b"pass"), "encrypted", id="encrypted"),
        pytest.param(
            b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
            "openssl x509",
            id="certificate",
        ),
        pytest.param(
            b"-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----\n",
            "PUBLIC KEY cannot be read",
            id="broken PEM",
        ),
        pytest.param(public_pem("RSA")[:-30], "no key in it is complete", id="cut PEM"),
        pytest.param(
            b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvv me",
            "public key or certificate",
            id="SSH key as a secret",
        ),
        pytest.param(b'{"kty": "oct"', "not JSON", id="broken JSON"),
        pytest.param(b'{"keys": {}}', "must be a list", id="keys is no list"),
        pytest.param(b'{"keys": []}', "no usable key", id="no keys"),
        pytest.param(b'{"keys": [5]}', "no usable key", id="no object"),
        pytest.param(b"{}", "must have a kty", id="no kty"),
        pytest.param(b'{"kty": ["oct"]}', "malformed|must have a kty", id="kty is no text"),
        pytest.param(b'{"kty": "oct"}', "incomplete", id="no k"),
        pytest.param(b'{"kty": "oct", "k": 5}', "malformed", id="k is no text"),
        pytest.param(b'{"kty": "oct", "k": "c2hvcnQ"}', "at least 32 bytes", id="short k"),
        pytest.param(b'{"kty": "RSA", "n": "AQAB"}', "incomplete", id="half an RSA key"),
        pytest.param(json.dumps(JWK | {"use": "enc"}).encode(), "not for signatures", id="use"),
        pytest.param(
            json.dumps(JWK | {"key_ops": ["encrypt"]}).encode(), "not for signatures", id="ops"
        ),
        pytest.param(json.dumps(JWK | {"alg": "RS256"}).encode(), "alg must be", id="alg"),
        pytest.param(json.dumps(JWK | {"alg": "none"}).encode(), "alg must be", id="none"),
        pytest.param(json.dumps(JWK | {"kid": 5}).encode(), "kid", id="kid"),
    ],
)
def test_a_key_that_cannot_be_trusted_is_refused_with_the_reason(content: bytes, why: str) -> None:
    """At the start, and the text never quotes the key."""
    with pytest.raises(KeyUnusable, match=why) as caught:
        KeyRing(parse_keys(content))
    assert SECRET not in str(caught.value) and JWK["k"] not in str(caught.value)


def test_the_alg_of_a_jwk_narrows_it() -> None:
    """It was made for that and nothing else."""
    (key,) = parse_keys(json.dumps(JWK | {"alg": "HS512", "kid": "a"}).encode())
    assert (key.algorithms, key.kid) == (("HS512",), "a")


def test_a_set_is_read_as_far_as_it_is_understood(caplog: pytest.LogCaptureFixture) -> None:
    """RFC 7517, 5: unknown kinds are passed over; the log names them by number."""
    entries = [{"kty": "new"}, JWK | {"kid": "a"}, JWK | {"use": "enc"}, JWK | {"kid": "b"}]
    keys = parse_keys(json.dumps({"keys": entries}).encode())
    assert [key.kid for key in keys] == ["a", "b"]
    assert [record.__dict__["number"] for record in caplog.records] == [1, 3]


def test_one_pem_may_hold_several_keys() -> None:
    """And the parameters block that openssl writes before an EC key."""
    parameters = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    keys = parse_keys(parameters + private_pem("P-256") + public_pem("RSA"))
    assert [key.algorithms[0] for key in keys] == ["ES256", "RS256"]


def test_more_keys_than_anybody_needs_are_refused() -> None:
    """Each one may have to be tried for each token."""
    with pytest.raises(KeyUnusable, match="more than 64"):
        KeyRing(parse_keys(json.dumps({"keys": [JWK] * 65}).encode()))


@pytest.mark.parametrize("content", [SECRET.encode(), private_pem("RSA"), json.dumps(JWK).encode()])
def test_repr_shows_nothing_secret(content: bytes) -> None:
    """Neither of a key nor of the ring."""
    ring = KeyRing(parse_keys(content))
    assert "kid" in repr(ring)
    assert "horse" not in repr(ring) and "rivate" not in repr(ring)


# ------------------------------------------------------------------ files


def test_a_missing_key_file_is_named(tmp_path: Path) -> None:
    """With the system's reason."""
    with pytest.raises(KeyUnusable, match=r"nowhere cannot be read: No such file"):
        read_key_file(tmp_path / "nowhere")


def test_a_key_file_is_bounded(tmp_path: Path) -> None:
    """A video given by mistake is not read whole."""
    (tmp_path / "key").write_bytes(b"x" * (MAX_KEY_FILE_BYTES + 1))
    with pytest.raises(KeyUnusable, match="more than"):
        read_key_file(tmp_path / "key")


@pytest.mark.parametrize(
    ("content", "mode", "is_warned"),
    [(SECRET.encode(), 0o644, True), (SECRET.encode(), 0o640, False), (None, 0o644, False)],
)
def test_a_secret_that_everybody_may_read_is_warned_of(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    content: bytes | None,
    mode: int,
    *,
    is_warned: bool,
) -> None:
    """Not so a public key."""
    (tmp_path / "key").write_bytes(content or public_pem("RSA"))
    (tmp_path / "key").chmod(mode)
    caplog.set_level(logging.WARNING)
    read_key_file(tmp_path / "key")
    assert bool(caplog.records) is is_warned


def test_a_development_key_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    """Whatever the umask; the second start finds it; nothing is left beside it."""
    path = tmp_path / "data" / "development.key"
    old = os.umask(0)
    try:
        assert create_development_key(path)
    finally:
        os.umask(old)
    first = path.read_bytes()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not create_development_key(path)
    assert path.read_bytes() == first
    assert [entry.name for entry in path.parent.iterdir()] == ["development.key"]
    (key,) = read_key_file(path)
    assert "HS512" in key.algorithms


def test_servers_that_start_at_once_share_one_development_key(tmp_path: Path) -> None:
    """Exactly one makes it, and none of them reads half of it."""
    path, count = tmp_path / "key", 16
    barrier, made, read = threading.Barrier(count), [], []

    def start() -> None:
        barrier.wait()
        made.append(create_development_key(path))
        read.append(read_key_file(path)[0].verifier)

    threads = [threading.Thread(target=start) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (made.count(True), len(made), len(set(read)), len(read)) == (1, count, 1, count)


def test_a_development_key_that_cannot_be_made_says_what_to_do(tmp_path: Path) -> None:
    """Its directory is a file."""
    (tmp_path / "file").write_text("")
    with pytest.raises(KeyUnusable, match=r"auth\.key_file"):
        create_development_key(tmp_path / "file" / "key")
