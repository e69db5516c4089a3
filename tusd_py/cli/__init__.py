"""The command ``tusd-py``.

``serve`` is answered here, without the library that parses the other commands: the process that
serves is this very one, and should not carry what it does not need.
"""

import os
import sys

from tusd_py.cli.exits import CommandFailed, Exit, tell_failure
from tusd_py.cli.flags import FlagWithoutValue, split_flags
from tusd_py.cli.session import Session, guarded


def main(words: list[str] | None = None) -> int:
    """Run one command; the exit code (``exits.Exit``)."""
    arguments = sys.argv[1:] if words is None else words
    as_json = "--json" in arguments
    try:
        rest, flags = split_flags(arguments)
    except FlagWithoutValue as exc:
        tell_failure(Exit.USAGE, str(exc), as_json=as_json)
        return Exit.USAGE
    session = Session(flags, os.environ)
    try:
        with guarded():
            if (code := _serve(rest, session)) is not None:
                return code
            from tusd_py.cli.app import run_command

            return run_command(rest, session)
    except CommandFailed as exc:
        tell_failure(exc.code, str(exc), as_json=as_json)
        return exc.code


def _serve(rest: list[str], session: Session) -> int | None:
    """Serve, where the words say just that; None where the parser should look at them."""
    from tusd_py.cli.serve import serve

    words = [word for word in rest if word != "--json"]
    as_json = len(words) < len(rest)
    match words:
        case ["serve"]:
            return serve(session, as_json=as_json)
        case ["serve", "--ready-fd", number] if number.isdecimal():
            return serve(session, ready_fd=int(number), as_json=as_json)
    return None
