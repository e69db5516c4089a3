"""Signatures by the Standard Webhooks scheme, compared with an implementation of the test's own."""

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tusd_py.hooks.signing import build_signature_headers, parse_secrets

SECRETS = st.lists(st.binary(min_size=24, max_size=80), min_size=1, max_size=4)


def hmac_sha256(key: bytes, message: bytes) -> bytes:
    """RFC 2104, written out."""
    key = hashlib.sha256(key).digest() if len(key) > 64 else key
    inner, outer = (bytes(byte ^ pad for byte in key.ljust(64, b"\0")) for pad in (0x36, 0x5C))
    return hashlib.sha256(outer + hashlib.sha256(inner + message).digest()).digest()


@given(secrets=SECRETS, body=st.binary(), message_id=st.text("abc01", min_size=1))
def test_each_secret_signs_id_timestamp_and_body(
    secrets: list[bytes], body: bytes, message_id: str
) -> None:
    """Several signatures are separated by spaces, in the order of the secrets."""
    headers = build_signature_headers(
        secrets, message_id=message_id, timestamp=1_700_000_000, body=body
    )
    signed = f"{message_id}.1700000000.".encode() + body
    expected = ["v1," + base64.b64encode(hmac_sha256(key, signed)).decode() for key in secrets]
    assert headers == {
        "webhook-id": message_id,
        "webhook-timestamp": "1700000000",
        "webhook-signature": " ".join(expected),
    }


def test_the_example_of_the_scheme_is_reproduced() -> None:
    """The test vector that the reference libraries of Standard Webhooks share."""
    headers = build_signature_headers(
        parse_secrets("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
        message_id="msg_p5jXN8AQM9LWM0D4loKWxJek",
        timestamp=1614265330,
        body=b'{"test": 2432232314}',
    )
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@given(secrets=SECRETS, is_padded=st.booleans())
def test_secrets_are_read_as_they_are_written(secrets: list[bytes], is_padded: bool) -> None:
    """One a line, with or without padding."""
    words = ["whsec_" + base64.b64encode(secret).decode() for secret in secrets]
    text = "\n".join(word if is_padded else word.rstrip("=") for word in words)
    assert parse_secrets(f" {text}\n") == tuple(secrets)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "1 to 4 secrets"),
        (" \n", "1 to 4 secrets"),
        ("hush", "must begin with whsec_"),
        ("whsec_", "at least 24 bytes"),
        ("whsec_aHVzaA==", "at least 24 bytes"),
        ("whsec_ä", "must be Base64"),
        ("whsec_!!!!", "must be Base64"),
        ("whsec_" + "A" * 45, "must be Base64"),
        (" ".join(["whsec_" + "A" * 44] * 5), "1 to 4 secrets"),
    ],
)
def test_a_secret_that_cannot_sign_is_refused_unquoted(text: str, why: str) -> None:
    """The text says what is wrong or how to make one."""
    with pytest.raises(ValueError, match=why) as caught:
        parse_secrets(text)
    assert "aHVzaA" not in str(caught.value) and "hush" not in str(caught.value)
