"""How much memory of Redis an open upload takes: few of them, many, and without conf/redis."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from tests.bench.creations import creation
from tests.bench.figures import Figure, Fresh, Samples
from tests.bench.servers import Contender, Running, running
from tests.bench.sizes import Sizes

THREADS: Final = 8


def state_memory(contender: Contender, directory: Path, sizes: Sizes) -> Samples:
    """Of uploads that were created and have no bytes yet. The transport makes no difference."""
    state, variant = contender.state, contender.variant
    if state is None or state.other is None or variant is None:
        return {}
    samples = {}
    for key, place in (("redis", state), ("plain", state.other)):
        place.wipe()  # nothing else runs meanwhile
        created = 0
        used = {}
        for name, count in (
            ("empty", 0),
            ("few", sizes.few_uploads),
            ("many", sizes.many_uploads),
        ):
            with running(variant(state=place), directory / key) as server:
                _create(server, count - created)
            created = count
            used[name] = place.used_bytes()
            if name != "empty":
                samples[f"{key}_{name}"] = [(used[name] - used["empty"]) / count]
    return samples


def _create(server: Running, count: int) -> None:
    request = creation(server)

    def some(number: int) -> None:
        with server.connect() as connection:
            for _ in range(number):
                connection.ask(request).expect(201)

    shares = [count // THREADS + (one < count % THREADS) for one in range(THREADS)]
    with ThreadPoolExecutor(THREADS) as threads:
        for done in [threads.submit(some, share) for share in shares]:
            done.result()


SCENARIOS: Final = (
    Fresh(
        "memory of Redis",
        state_memory,
        (
            Figure("redis_few", "Redis per open upload, {few_uploads} of them", "bytes"),
            Figure("redis_many", "  {many_uploads} of them", "bytes"),
            Figure("plain_few", "  {few_uploads}, without conf/redis", "bytes"),
            Figure("plain_many", "  {many_uploads}, without conf/redis", "bytes"),
        ),
        is_long=True,
    ),
)
