"""The least rights that a user of Redis needs: no more is ever asked for.

A test compares the list with what the scripts and the connections call, and runs everything as a
user that has nothing else.
"""

from typing import Final

COMMANDS_OF_CONNECTIONS: Final = (
    "cluster|slots",  # on a Cluster
    "evalsha",
    "info",
    "script|load",
    "select",  # with a database other than 0
    "subscribe",
)
COMMANDS_OF_SCRIPTS: Final = (
    "del",
    "exists",
    "get",
    "getrange",
    "hdel",
    "hexists",
    "hget",
    "hgetall",
    "hincrby",
    "hkeys",
    "hmget",
    "hscan",
    "hset",
    "info",
    "pexpire",
    "publish",
    "set",
    "setrange",
    "time",
    "zadd",
    "zpopmin",
    "zrange",
    "zrangebylex",
    "zrangebyscore",
    "zrem",
    "zremrangebyscore",
    "zscore",
)
"""Redis judges them by the user that runs the script."""
COMMANDS: Final = tuple(sorted({*COMMANDS_OF_CONNECTIONS, *COMMANDS_OF_SCRIPTS}))


def build_rules(prefix: str) -> str:
    """What ``ACL SETUSER`` is told after the name and the password. AUTH needs no right."""
    rights = " ".join(f"+{command}" for command in COMMANDS)
    return f"resetkeys ~{prefix}:* resetchannels &{prefix}:* -@all {rights}"
