"""The files of conf/ are what they say they are."""

import re
from pathlib import Path

import pytest

from tests.house.source import ROOT
from tusd_py.auth.base import AuthMode
from tusd_py.config import Tree, load
from tusd_py.config.render import build_file, build_flag_help, masked, show
from tusd_py.config.tree import SECTIONS
from tusd_py.core.reconcile import Durability

CONF = ROOT / "conf"


def loaded(file: Path) -> Tree:
    return load(file=file, environment={}, flags={})


def test_the_committed_file_is_the_generated_one() -> None:
    """Written anew by: tusd-py config init - > conf/tusd.toml"""
    assert (CONF / "tusd.toml").read_text() == build_file()


def test_every_setting_can_stand_at_its_default(tmp_path: Path) -> None:
    """With the # taken away the file loads, and changes nothing."""
    lines = []
    for line in build_file().splitlines():
        if line.startswith("# A hook of the kind"):
            break
        lines.append(re.sub(r"^#(?=[a-z_]+ =)", "", line))
    file = tmp_path / "all.toml"
    file.write_text("\n".join(lines))
    tree, default = loaded(file), load(environment={}, flags={})
    for name in SECTIONS:
        assert tree.section(name) == default.section(name)
    assert tree.data_dir == default.data_dir
    origins = {one.name: one.origin for one in show(tree)}
    assert set(origins.values()) == {str(file)}, "every setting stands in the file"


def test_the_original_platforms_behaviour_is_one_file() -> None:
    """Four hours, 30 GB, and 500 for refused tokens."""
    tree = loaded(CONF / "gcore.toml")
    assert tree.auth.settings.refusal_status == 500
    assert tree.auth.settings.mode is AuthMode.CREATION
    assert tree.auth.settings.token_seconds == 4 * 3600
    assert tree.upload.max_bytes == 30_000_000_000
    assert tree.http.base_path == "/upload/"


def test_production_has_a_key_of_its_own_and_logs_for_machines() -> None:
    """Behind a proxy that speaks TLS."""
    tree = loaded(CONF / "production.toml")
    assert tree.auth.settings.key_file is not None
    assert str(tree.http.public_url).startswith("https://")
    assert tree.http.trusted_proxies
    assert tree.log.format == "json"
    assert tree.process.workers > 1
    assert Durability(tree.store.settings.durability) is not Durability.PROCESS


def test_production_hands_no_file_out_unless_it_is_told_to() -> None:
    """SEC-XSS: finished files are their receiver's."""
    assert not loaded(CONF / "production.toml").download.enabled
    assert load(environment={}, flags={}).download.enabled


def test_help_names_every_flag_with_its_variable_and_default() -> None:
    """Nothing is undocumented: each has a sentence."""
    text = build_flag_help()
    assert "--http.port  [env: TUSD_PY_HTTP_PORT]  [default: " in text
    flags = re.findall(r"^  --[\w.-]+  \[env: \w+\].*\n(.*)", text, re.MULTILINE)
    assert len(flags) > 40
    assert [one for one in flags if not one.startswith("      ")] == []


@pytest.mark.parametrize(
    ("key", "value", "shown"),
    [
        ("secret", "x", "***"),
        ("key", "x", "***"),
        ("key_file", "/k", "/k"),
        ("url", "https://u:pw@h/p?token=x", "https://***@h/p?***"),
        ("port", 80, 80),
        ("options", {"api_key": "x", "n": 1}, {"api_key": "***", "n": 1}),
    ],
)
def test_what_may_be_a_secret_is_not_shown(key: str, value: object, shown: object) -> None:
    """Whatever it is called or hidden in."""
    assert masked(key, value) == shown
