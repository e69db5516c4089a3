"""``python -m tests.chaos``: hundreds of kills; exit 1 where a promise was broken.

The seed is printed, and the same one makes the same kills; what they hit differs all the same.
"""

import argparse
import asyncio
import secrets
import sys
import tempfile
from pathlib import Path

from tests.chaos.run import Plan, Summary, prepared

KILLS = 300
MINUTES = 20.0


def main() -> int:
    options = _parse()
    plan = Plan(options.seed, options.kills, options.minutes * 60, options.workers)
    print(f"seed {plan.seed}, at most {plan.kills} kills in {options.minutes:g} min", flush=True)
    directory = Path(tempfile.mkdtemp(prefix="tusd-py-chaos-"))
    try:
        summary = asyncio.run(_run(plan, directory))
    except BaseException:
        print(f"broken with seed {plan.seed}; what is left lies in {directory}", file=sys.stderr)
        raise
    print(f"nothing was lost\n{summary}")
    return 0


async def _run(plan: Plan, directory: Path) -> Summary:
    async with prepared(plan, directory / "server") as chaos:
        return await chaos.run(lambda line: print(line, flush=True))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000))
    parser.add_argument("--kills", type=int, default=KILLS)
    parser.add_argument("--minutes", type=float, default=MINUTES, help="no kill later than this")
    parser.add_argument("--workers", type=int, default=1, help="serving processes")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
