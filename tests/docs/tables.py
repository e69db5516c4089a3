"""Tables of documents that are made from the code: ``python -m tests.docs.tables`` prints them."""

import sys
from typing import Final

from tusd_py.core.errors import UploadError
from tusd_py.protocol.tus1 import STATUS
from tusd_py.state.redis.keys import KEYS

NOT_YET: Final = frozenset({"ERR_UPLOAD_IS_FINAL"})
"""Codes of rules that no request can meet today."""


def build_error_table() -> str:
    """Status, code and meaning of each refusal, by status."""
    lines = ["| status | code | when |", "|---|---|---|"]
    for error, status in sorted(STATUS.items(), key=lambda row: (row[1], row[0].code)):
        if error.code not in NOT_YET:
            lines.append(f"| {status} | `{error.code}` | {_meaning(error)} |")
    return "\n".join(lines) + "\n"


def build_key_table() -> str:
    """Every key in Redis, for ``conf/redis/README.md``."""
    lines = ["| key | type | holds | lives |", "|---|---|---|---|"]
    for key in KEYS:
        name = f"tusd:{key.place.value}:{key.name}"
        lines.append(f"| `{name}` | {key.form.value} | {key.meaning} | {key.life} |")
    return "\n".join(lines) + "\n"


def _meaning(error: type[UploadError]) -> str:
    first = (error.__doc__ or "").strip().splitlines()[0]
    return first.replace("``", "`")


if __name__ == "__main__":
    sys.stdout.write(build_error_table() + "\n" + build_key_table())
