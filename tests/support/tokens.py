"""Tokens as a video platform's back end mints them, made with PyJWT and no code of ours."""

import time
from typing import Any

import jwt

KEY = "a test key of more than thirty-two bytes, known to nobody else"


def mint(
    key: str | bytes = KEY,
    *,
    video_id: str | int = "1001",
    client_id: str | int = "7",
    seconds: float = 3600,
    algorithm: str = "HS256",
    **extra: Any,
) -> str:
    """A token. ``seconds`` from now it expires (negative: it has); an extra claim that is None
    is left away, so ``exp=None`` makes a token that never does."""
    claims = {
        "video_id": video_id,
        "client_id": client_id,
        "exp": int(time.time() + seconds),
    } | extra
    kept = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(kept, key, algorithm=algorithm)
