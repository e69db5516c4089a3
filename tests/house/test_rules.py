"""Each rule can fail, and leaves alone what it should."""

import pytest

from tests.house import habits, layers
from tests.house.source import Source
from tests.house.test_tree import RULES, Rule

LONG_FUNCTION = "def f():\n" + "    a = 1\n" * 60
CORE = "tusd_py/core/upload.py"
TEST = "tests/service/test_append.py"

BREAKS = [
    (layers.has_its_row, "tusd_py/utils.py", ""),
    (layers.has_its_row, "tusd_py/helpers/__init__.py", ""),
    (layers.imports_point_downward, CORE, "from tusd_py.service import append"),
    (layers.imports_point_downward, CORE, "from tusd_py import streams"),
    (layers.imports_point_downward, CORE, "from ..service import append"),
    (layers.imports_point_downward, "tusd_py/core/__init__.py", "from .. import service"),
    (layers.imports_point_downward, "tusd_py/protocol/tus1.py", "import tusd_py.web.app"),
    (layers.imports_point_downward, "tusd_py/protocol/tus1.py", "import tusd_py.corex"),
    (layers.imports_point_downward, "tusd_py/stores/disk.py", "from tusd_py.state import base"),
    (layers.imports_point_downward, "tusd_py/service/a.py", "from tusd_py.stores import disk"),
    (layers.imports_point_downward, "tusd_py/service/a.py", "from tusd_py import protocol"),
    (layers.imports_point_downward, "tusd_py/web/a.py", "from tusd_py.state.sqlite import X"),
    (layers.imports_point_downward, "tusd_py/web/a.py", "def f():\n import tusd_py.compose"),
    (layers.imports_point_downward, "tusd_py/streams.py", "from .stores import base"),
    (layers.pure_layers_need_only_the_standard_library, CORE, "import pydantic"),
    (layers.pure_layers_need_only_the_standard_library, CORE, "import http_sf"),
    (layers.pure_layers_need_only_the_standard_library, "tusd_py/protocol/a.py", "import yarl"),
    (layers.the_web_framework_stays_in_web, "tusd_py/hooks/http.py", "from aiohttp import web"),
    (layers.the_web_framework_stays_in_web, "tusd_py/cli/a.py", "import aiohttp.web"),
    (layers.the_web_framework_stays_in_web, "tusd_py/server.py", "aiohttp.web.Application()"),
    (layers.the_web_framework_stays_in_web, "tusd_py/a.py", "from aiohttp.web_app import X"),
    (layers.the_web_framework_stays_in_web, "tusd_py/service/a.py", "import aiohttp"),
    (layers.pure_layers_never_wait, CORE, "async def f(): ..."),
    (layers.pure_layers_never_wait, "tusd_py/protocol/a.py", "x = [a async for a in b]"),
    (layers.core_has_neither_clock_nor_dice, CORE, "import time"),
    (layers.core_has_neither_clock_nor_dice, CORE, "from os import path"),
    (layers.core_has_neither_clock_nor_dice, CORE, "import logging.handlers"),
    (layers.core_has_neither_clock_nor_dice, CORE, "from uuid import uuid4"),
    (layers.core_has_neither_clock_nor_dice, CORE, "datetime.now(UTC)"),
    (habits.opens_with_a_docstring, CORE, "import re\n'''Late.'''"),
    (habits.is_small, CORE, "a = 1\n" * 401),
    (habits.is_small, CORE, LONG_FUNCTION),
    (habits.swallows_no_error, CORE, "try: f()\nexcept: pass"),
    (habits.swallows_no_error, CORE, "try: f()\nexcept Exception: ..."),
    (habits.swallows_no_error, CORE, "for a in b:\n try: f()\n except (A, Exception): continue"),
    (habits.swallows_no_error, CORE, "def g():\n try: f()\n except BaseException: return False"),
    (habits.swallows_no_error, CORE, "with contextlib.suppress(Exception): f()"),
    (habits.leaves_nothing_undone, CORE, "a = 1  # TO" + "DO later"),
    (habits.names_no_machine, "README.md", "see https://pypi." + "org/project/x"),
    (habits.names_no_machine, "conf/requirements/dev.txt", "--index-" + "url https://a/simple"),
    (habits.names_no_machine, "a/package-lock.json", '"resol' + 'ved": "https://a/b.tgz"'),
    (habits.names_no_machine, "README.md", "run /ro" + "ot/bin/x"),
    (habits.names_no_machine, "conf/a.toml", "path = '/wor" + "k/main'"),
    (habits.has_its_place, "setup.py", ""),
    (habits.has_its_place, "docs/index.md", ""),
    (habits.skips_nothing, TEST, "@pytest.mark.skipif(True)\ndef test_a(): ..."),
    (habits.skips_nothing, TEST, "pytestmark = pytest.mark.xfail"),
    (habits.skips_nothing, TEST, "pytest.skip('no redis')"),
    (habits.skips_nothing, TEST, "from pytest import importorskip"),
    (habits.waits_for_events_not_for_time, TEST, "time.sleep(1)"),
    (habits.waits_for_events_not_for_time, TEST, "async def t(): await asyncio.sleep(0.5)"),
    (habits.waits_for_events_not_for_time, TEST, "from asyncio import sleep"),
]

KEEPS = [
    (layers.has_its_row, "tusd_py/__init__.py", ""),
    (layers.imports_point_downward, CORE, "from tusd_py.core import errors\nfrom . import ids"),
    (layers.imports_point_downward, "tusd_py/core/__init__.py", "from .upload import Upload"),
    (layers.imports_point_downward, "tusd_py/web/a.py", "from tusd_py import __version__"),
    (layers.imports_point_downward, "tusd_py/service/a.py", "from tusd_py.stores import base"),
    (layers.imports_point_downward, "tusd_py/service/a.py", "from tusd_py.state.base import X"),
    (layers.imports_point_downward, "tusd_py/state/sqlite.py", "from tusd_py import settings"),
    (layers.imports_point_downward, "tusd_py/cli/a.py", "from tusd_py.web import app"),
    (layers.pure_layers_need_only_the_standard_library, CORE, "import re, base64"),
    (layers.pure_layers_need_only_the_standard_library, "tusd_py/protocol/a.py", "import http_sf"),
    (layers.the_web_framework_stays_in_web, "tusd_py/web/app.py", "from aiohttp import web"),
    (layers.the_web_framework_stays_in_web, "tusd_py/hooks/http.py", "import aiohttp"),
    (layers.pure_layers_never_wait, "tusd_py/service/a.py", "async def f(): ..."),
    (layers.core_has_neither_clock_nor_dice, CORE, "from uuid import uuid5"),
    (habits.opens_with_a_docstring, CORE, '"""Says it."""'),
    (habits.opens_with_a_docstring, "tests/a/__init__.py", ""),
    (habits.is_small, CORE, "a = 1\n" * 400),
    (habits.swallows_no_error, CORE, "try: f()\nexcept FileNotFoundError: pass"),
    (habits.swallows_no_error, CORE, "try: f()\nexcept Exception:\n log()\n raise"),
    (habits.swallows_no_error, CORE, "with suppress(TimeoutError): f()"),
    (habits.names_no_machine, "README.md", "GET /files/opt/a, /tmp/a, ../root/x, npm install"),
    (habits.has_its_place, ".ci/run", ""),
    (habits.skips_nothing, TEST, "skip(1)\nrow.skip()"),
    (habits.waits_for_events_not_for_time, TEST, "async def t(): await asyncio.sleep(0)"),
    (habits.waits_for_events_not_for_time, "tests/chaos/kill.py", "time.sleep(1)"),
]


@pytest.mark.parametrize(("rule", "path", "text"), BREAKS)
def test_the_rule_finds(rule: Rule, path: str, text: str) -> None:
    assert list(rule(Source(path, text)))


@pytest.mark.parametrize(("rule", "path", "text"), KEEPS)
def test_the_rule_leaves_alone(rule: Rule, path: str, text: str) -> None:
    assert not list(rule(Source(path, text)))


def test_every_rule_is_shown_to_fail() -> None:
    assert {rule for rule, _, _ in BREAKS} == {rule for rule, _ in RULES}
