"""``python -m tests.chaos``: hundreds of kills; exit 1 where a promise was broken.

The seed is printed, and the same one makes the same kills; what they hit differs all the same.
"""

import argparse
import asyncio
import secrets
import sys
import tempfile
from pathlib import Path

from tests.chaos import machines
from tests.chaos.run import Plan, Summary, prepared

KILLS = 300
MINUTES = 20.0


def main() -> int:
    options = _parse()
    plan = Plan(options.seed, options.kills, options.minutes * 60, options.workers)
    print(f"seed {plan.seed}, at most {plan.kills} kills in {options.minutes:g} min", flush=True)
    directory = Path(tempfile.mkdtemp(prefix="tusd-py-chaos-"))
    try:
        summary = asyncio.run(_run(plan, options.redis, directory))
    except BaseException:
        print(f"broken with seed {plan.seed}; what is left lies in {directory}", file=sys.stderr)
        raise
    print(f"nothing was lost\n{summary}")
    return 0


async def _run(plan: Plan, redis: machines.Flavour | None, directory: Path) -> Summary:
    def tell(line: str) -> None:
        print(line, flush=True)

    if redis is not None:
        async with machines.prepared(plan, redis, directory) as many:
            return await many.run(tell)
    async with prepared(plan, directory / "server") as chaos:
        return await chaos.run(tell)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000))
    parser.add_argument("--kills", type=int, default=KILLS)
    parser.add_argument("--minutes", type=float, default=MINUTES, help="no kill later than this")
    parser.add_argument("--workers", type=int, default=1, help="serving processes")
    parser.add_argument(
        "--redis",
        choices=("sentinel", "cluster"),
        help="three servers behind nginx on such a Redis, whose nodes are killed too",
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
