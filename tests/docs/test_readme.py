"""The README does what it says: each block, each table, each link."""

import contextlib
import re
import sqlite3
import time
import tomllib
from pathlib import Path

import pytest

from tests.bench.run import figures
from tests.bench.sizes import QUICK
from tests.bench.table import _title as figure_title
from tests.docs.blocks import (
    LANGUAGES,
    Unmarked,
    is_in,
    is_like,
    parse_blocks,
    read_blocks,
    stories,
)
from tests.docs.stage import Stage
from tests.docs.tables import build_error_table
from tests.interop.table import build_table
from tests.support.server import REPOSITORY
from tests.support.wire import request
from tusd_py import __version__
from tusd_py.hooks.signing import build_signature_headers, parse_secrets

README = REPOSITORY / "README.md"
BLOCKS = read_blocks(README)
STORIES = stories(BLOCKS)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("story", STORIES)
async def test_the_story_goes_as_told(story: str, tmp_path: Path) -> None:
    """Every block of it, in order, in one directory, with real processes."""
    async with Stage(tmp_path / "stage") as stage:
        for block in STORIES[story]:
            await stage.play(block)


@pytest.mark.timeout(180)
async def test_the_receiver_acts_once_and_on_genuine_events_only(tmp_path: Path) -> None:
    """A delivery that comes again is taken and ignored; a forged or an old one is refused."""
    async with Stage(tmp_path / "stage") as stage:
        for block in STORIES["hook"]:
            await stage.play(block)
        secrets = parse_secrets((stage.directory / "hook.secret").read_text())
        with contextlib.closing(sqlite3.connect(stage.directory / "jobs.db")) as jobs:
            event_id, event = jobs.execute("SELECT event_id, event FROM jobs").fetchone()
            told = stage.plays[-1].output

            async def deliver(body: bytes, *, message_id: str = event_id, age: int = 0) -> int:
                signed = build_signature_headers(
                    secrets, message_id=message_id, timestamp=int(time.time()) - age, body=body
                )
                url = f"http://127.0.0.1:{stage.ports['9000']}/uploads"
                return (await request("POST", url, signed | wrong, body)).status

            wrong: dict[str, str] = {}
            assert await deliver(event.encode()) == 204
            assert await deliver(event.encode(), age=3600) == 401
            wrong = {"webhook-id": "another"}
            assert await deliver(event.encode()) == 401
            assert jobs.execute("SELECT count(*) FROM jobs").fetchone() == (1,)
            assert stage.plays[-1].output == told


def test_every_story_is_played_by_something() -> None:
    """What is compared was made by the story itself, and each story does something."""
    for story, blocks in STORIES.items():
        actions = [block.action for block in blocks]
        assert set(actions) - {"output", "says"}, story
        for before, action in zip([None, *actions], actions, strict=False):
            assert action != "output" or before in {"run", "stopped"}, (story, actions)
    assert set(LANGUAGES) == {block.action for block in BLOCKS}


def test_the_table_of_refusals_is_the_servers_own() -> None:
    """Each status and code, from the protocol's table; made anew by python -m tests.docs.tables."""
    assert build_error_table() in README.read_text()


def test_the_table_of_clients_is_the_zoos_own() -> None:
    """Nothing is claimed that no test shows; made anew by python -m tests.interop.table."""
    assert between("interop", README.read_text()).strip("\n") == build_table().strip("\n")


def test_links_lead_to_files_and_headings_that_are_there() -> None:
    """Of the README and the list of changes."""
    for name in ("README.md", "CHANGELOG.md"):
        for target in re.findall(r"\]\(([^)]+)\)", (REPOSITORY / name).read_text()):
            if target.startswith("https://"):
                continue
            file, _, anchor = target.partition("#")
            path = REPOSITORY / (file or name)
            assert path.exists(), target
            assert not anchor or anchor in anchors_of(path), target


def anchors_of(document: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", one.lower()).replace(" ", "-") for one in headings}


def test_the_version_is_the_newest_that_the_list_of_changes_tells_of() -> None:
    """In the package, in what it is built from, and on top of the list."""
    told = re.findall(r"(?m)^### (.+)$", (REPOSITORY / "CHANGELOG.md").read_text())[0]
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert __version__ == project["version"] == told


def test_measured_figures_are_those_of_the_benchmark() -> None:
    """Each row of the measured table is a row that make bench prints, unit included."""
    table = between("bench", README.read_text())
    rows = [line.split("|")[1:3] for line in table.splitlines() if line.startswith("|")][2:]
    known = {(figure_title(one.title, QUICK).strip(), one.unit) for one in figures()}
    assert rows
    for title, unit in rows:
        assert (title.strip(), unit.strip()) in known


def between(name: str, text: str) -> str:
    """What stands between the two comments of this name, which stand there once."""
    before, _, rest = text.partition(f"<!-- {name} -->\n")
    inner, end, after = rest.partition(f"<!-- end of {name} -->\n")
    assert end and f"<!-- {name} -->" not in before + after
    return inner


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("```sh\nls\n```\n", "no comment"),
        ("<!-- test: a run -->\n\n```sh\nls\n```\n", "no comment"),
        ("<!-- test: a run -->\n```toml\nls\n```\n", "not for toml"),
        ("<!-- test: a look -->\n```sh\nls\n```\n", "not for sh"),
        ("<!-- test: a run -->\n```sh\nls\n", "no end"),
    ],
)
def test_a_block_that_nothing_tests_is_refused(text: str, why: str) -> None:
    """A block cannot be slipped past the tests."""
    with pytest.raises(Unmarked, match=why):
        parse_blocks(text)


def test_shown_output_is_compared_to_the_letter() -> None:
    """Only what an ellipsis stands for may differ."""
    assert is_like("a … c\n…\nz\n", "a b c\n1\n2\nz")
    assert is_like("a\n…\nz", "a\nz\n")
    assert not is_like("a … c", "a b d")
    assert not is_like("a", "a\nb")
    assert not is_like("a.c", "abc")
    assert is_in("b", "a\nb\nc") and not is_in("b", "abc")


async def test_a_story_that_goes_wrong_is_a_failure(tmp_path: Path) -> None:
    """A command that fails, other output, a configuration that the server does not take."""
    wrong = [
        "<!-- test: a run -->\n```sh\nfalse\n```\n",
        "<!-- test: a run -->\n```sh\nfalse | cat\n```\n",
        "<!-- test: a run -->\n```sh\necho 1\n```\n<!-- test: a output -->\n```text\n2\n```\n",
        "<!-- test: a file x.toml -->\n```toml\n[http]\nprot = 1\n```\n",
    ]
    for number, text in enumerate(wrong):
        async with Stage(tmp_path / str(number)) as stage:
            *before, last = parse_blocks(text)
            for block in before:
                await stage.play(block)
            with pytest.raises(AssertionError):
                await stage.play(last)
