"""One key of each kind that tokens may be signed with, made once, as a back end would keep it."""

import json
from functools import cache
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, HMACAlgorithm, OKPAlgorithm, RSAAlgorithm

SECRET = b"a secret of sixty-four bytes and more, so that it serves HS512 as well, really"


@cache
def signing_keys() -> dict[str, Any]:
    """By algorithm, what signs."""
    rsa_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return {
        **dict.fromkeys(("HS256", "HS384", "HS512"), SECRET),
        **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), rsa_key),
        "ES256": ec.generate_private_key(ec.SECP256R1()),
        "ES384": ec.generate_private_key(ec.SECP384R1()),
        "ES512": ec.generate_private_key(ec.SECP521R1()),
        "EdDSA": ed25519.Ed25519PrivateKey.generate(),
    }


def write_key_set(directory: Path) -> Path:
    """A JWKS with the public halves, and with the secret; readable by its owner only."""
    keys = signing_keys()
    entries = [
        HMACAlgorithm.to_jwk(SECRET, as_dict=True),
        RSAAlgorithm.to_jwk(keys["RS256"].public_key(), as_dict=True),
        *(
            ECAlgorithm(ECAlgorithm.SHA256).to_jwk(keys[name].public_key(), as_dict=True)
            for name in ("ES256", "ES384", "ES512")
        ),
        OKPAlgorithm.to_jwk(keys["EdDSA"].public_key(), as_dict=True),
    ]
    # "sign" among what a key may do is not needed to verify with it.
    cleaned = [{k: v for k, v in entry.items() if k != "key_ops"} for entry in entries]
    path = directory / "keys.json"
    path.touch(mode=0o600)
    path.write_text(json.dumps({"keys": cleaned}))
    return path
