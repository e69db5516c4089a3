"""How a command ends: exit codes, and what is said on the way out."""

import json
import sys
from enum import IntEnum
from typing import Any


class Exit(IntEnum):
    """Exit codes of every command. Stable: scripts rely on them."""

    OK = 0
    FAILED = 1
    """Something broke that has no code of its own; the text or the log says what."""
    USAGE = 2
    """The command line is wrong."""
    CONFIGURATION = 3
    """The settings, a key, or the address to listen on cannot be used."""
    NOT_FOUND = 4
    """What the command is about does not exist."""
    UNAVAILABLE = 5
    """The store or the state cannot be reached or opened. Trying again may help."""
    REFUSED = 6
    """It was not done: a gate refused, or somebody else holds the upload."""


EXIT_CODES = """\
Exit codes: 0 done; 1 failed; 2 wrong usage; 3 the configuration cannot be used; 4 not found;
5 store or state unavailable; 6 refused or in use."""


class CommandFailed(Exception):
    """Ends the command with a code and a sentence."""

    def __init__(self, code: Exit, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


def tell(value: Any, text: str, *, as_json: bool) -> None:
    """Print a result: as one JSON document, or as text."""
    print(json.dumps(value, ensure_ascii=False) if as_json else text)


def tell_failure(code: Exit, sentence: str, *, as_json: bool) -> None:
    """Say on standard error why nothing more comes."""
    if as_json:
        print(json.dumps({"error": sentence, "exit": int(code)}), file=sys.stderr)
    else:
        print(f"tusd-py: {sentence}", file=sys.stderr)
