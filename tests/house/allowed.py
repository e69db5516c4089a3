"""The exceptions to the rules, each with its reason.

An entry is (name of the rule, path of the file): reason. One that is not needed any more fails.
"""

from typing import Final

ALLOWED: Final[dict[tuple[str, str], str]] = {}
