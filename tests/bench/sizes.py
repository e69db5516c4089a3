"""How much is measured: the sizes, counts and times that bound a run."""

from dataclasses import dataclass
from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Bounds of one run. Every scenario is run ``rounds`` times at each server, in turn."""

    rounds: int
    fresh_rounds: int
    """Of the scenarios that start a server of their own."""
    one_stream_bytes: int = 128 * MIB
    streams: int = 8
    stream_bytes: int = 32 * MIB
    chunked_bytes: int = 100 * MIB
    chunk_bytes: int = 5 * MIB
    connections: int = 8
    small_bytes: int = 4 * KIB
    rate_seconds: float = 1.0
    """Of each round that counts requests per second."""
    latency_requests: int = 1000
    idle_connections: int = 1000
    active_uploads: int = 100
    active_bytes: int = 512 * KIB
    """What each upload in mid-body has sent, of twice as many."""
    hand_overs: int = 30
    """Of each kind, over all its rounds."""
    across_hand_overs: int = 90
    """Of each kind, between two processes or machines: enough to tell the slowest of a hundred."""
    peer_hand_overs: int = 3
    """Some peers let a newcomer wait for many seconds."""
    creating_connections: int = 16
    """So many that each of several processes has some."""
    few_uploads: int = 1000
    many_uploads: int = 10_000


FULL: Final = Sizes(rounds=5, fresh_rounds=3)
QUICK: Final = Sizes(
    rounds=2,
    fresh_rounds=1,
    rate_seconds=0.4,
    latency_requests=300,
    hand_overs=8,
    across_hand_overs=24,
    peer_hand_overs=1,
    many_uploads=4000,
)
TINY: Final = Sizes(
    rounds=1,
    fresh_rounds=1,
    one_stream_bytes=1 * MIB,
    streams=2,
    stream_bytes=512 * KIB,
    chunked_bytes=1 * MIB,
    chunk_bytes=400 * KIB,
    connections=2,
    rate_seconds=0.05,
    latency_requests=10,
    idle_connections=10,
    active_uploads=4,
    active_bytes=128 * KIB,
    hand_overs=2,
    across_hand_overs=3,
    peer_hand_overs=1,
    creating_connections=4,
    few_uploads=20,
    many_uploads=40,
)
"""Says that the benchmark works, and nothing else."""
