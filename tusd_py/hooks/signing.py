"""Signatures of webhooks by the Standard Webhooks scheme, 1.0. Pure.

What is signed is ``{id}.{timestamp}.{body}``, with HMAC-SHA256. Several secrets make several
signatures, so that a receiver can change its secret while both are valid.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from typing import Final

PREFIX: Final = "whsec_"
MIN_SECRET_BYTES: Final = 24
MAX_SECRETS: Final = 4
MAKE_A_SECRET: Final = (
    "python3 -c 'import base64, secrets; "
    'print("whsec_" + base64.b64encode(secrets.token_bytes(32)).decode())\''
)


def parse_secrets(text: str) -> tuple[bytes, ...]:
    """The secrets in ``text``, separated by white space, the newest first.

    Raises ValueError with a text for the operator that does not quote them.
    """
    secrets = tuple(_parse_secret(word) for word in text.split())
    if not 1 <= len(secrets) <= MAX_SECRETS:
        raise ValueError(f"there must be 1 to {MAX_SECRETS} secrets; make one with {MAKE_A_SECRET}")
    return secrets


def _parse_secret(word: str) -> bytes:
    if not word.startswith(PREFIX):
        raise ValueError(f"a secret must begin with {PREFIX}; make one with {MAKE_A_SECRET}")
    encoded = word.removeprefix(PREFIX)
    try:
        secret = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError) as exc:
        raise ValueError(f"after {PREFIX} a secret must be Base64") from exc
    if len(secret) < MIN_SECRET_BYTES:
        raise ValueError(
            f"a secret needs at least {MIN_SECRET_BYTES} bytes; make one with {MAKE_A_SECRET}"
        )
    return secret


def build_signature_headers(
    secrets: Sequence[bytes], *, message_id: str, timestamp: int, body: bytes
) -> dict[str, str]:
    """The three headers of a signed delivery."""
    content = f"{message_id}.{timestamp}.".encode() + body
    signatures = (
        "v1," + base64.b64encode(hmac.digest(secret, content, hashlib.sha256)).decode()
        for secret in secrets
    )
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(signatures),
    }
