"""Runs the whole zoo: ``python -m tests.interop [pytest's arguments]``."""

import sys
from pathlib import Path

import pytest

if __name__ == "__main__":
    here = str(Path(__file__).parent)
    sys.exit(pytest.main(["-p", "tests.interop.whole", "--whole-zoo", here, *sys.argv[1:]]))
