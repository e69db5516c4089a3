"""Commands print for people or machines, and end with the code that scripts rely on."""

import asyncio
import json
import logging
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tusd_py.auth.jwt import JwtAuthenticator, JwtSettings, load_keys
from tusd_py.cli import main
from tusd_py.cli.exits import Exit
from tusd_py.core.identity import Claims


@pytest.fixture(autouse=True)
def _in_an_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    yield
    logging.captureWarnings(False)
    root.handlers[:] = before
    root.setLevel(level)


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(list(words))
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def run_json(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    code, out, err = run(capsys, *words, "--json")
    assert code == 0, err
    return json.loads(out)


def claims_of(token: str, key_file: Path) -> Claims:
    settings = JwtSettings(key_file=key_file)
    authenticator = JwtAuthenticator(settings, load_keys(settings, {}))
    return asyncio.run(authenticator.read_claims(token))


def test_a_token_is_made_with_the_development_key(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The key is made when it is first needed, for its owner's eyes; the output is the token."""
    code, out, err = run(capsys, "token", "--video-id", "v1", "--client-id", "7")
    file = tmp_path / "data" / "development.key"
    assert (code, err) == (0, "")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    owner = claims_of(out.strip(), file).owner
    assert (owner.video_id, owner.client_id) == ("v1", "7")
    again = run(capsys, "token", "--video-id", "v1", "--client-id", "7")[1]
    assert claims_of(again.strip(), file).owner == owner


def test_a_token_can_be_narrowed(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Size, types, one file only; its end is told."""
    found = run_json(
        capsys,
        *("token", "--video-id", "1", "--client-id", "2", "--seconds", "60", "--max-size", "9"),
        *("--allowed-types", "video/mp4, audio/*", "--once"),
    )
    claims = claims_of(found["token"], tmp_path / "data" / "development.key")
    assert claims.max_bytes == 9
    assert claims.allowed_types == ("video/mp4", "audio/*")
    assert claims.once_id
    assert found["expires_at"] > 0


@pytest.mark.parametrize(
    ("words", "code"),
    [
        pytest.param(["nope"], Exit.USAGE, id="an unknown command"),
        pytest.param(["token", "--video-id", "1"], Exit.USAGE, id="a word that is missing"),
        pytest.param(["token", "--data-dir"], Exit.USAGE, id="a value that is missing"),
        pytest.param(["uploads", "show", "zz"], Exit.USAGE, id="no id"),
        pytest.param(["uploads", "list", "--limit", "0"], Exit.USAGE, id="no limit"),
        pytest.param(["uploads", "show", "0" * 32], Exit.NOT_FOUND, id="no such upload"),
        pytest.param(["uploads", "delete", "0" * 32], Exit.NOT_FOUND, id="nothing to delete"),
        pytest.param(["events", "replay", "--event-id", "x"], Exit.NOT_FOUND, id="no such letter"),
        pytest.param(["config", "show", "--http.prot", "1"], Exit.CONFIGURATION, id="no setting"),
        pytest.param(["serve", "--http.host", "0.0.0.0"], Exit.CONFIGURATION, id="no own key"),
        pytest.param(["serve", "--auth.key-file", "none.key"], Exit.CONFIGURATION, id="no key"),
        pytest.param(["uploads", "list", "--state.path", "/proc/x"], Exit.UNAVAILABLE,
                     id="no state"),
        pytest.param(["state", "rebuild", "--store.root", "/proc/x"], Exit.UNAVAILABLE,
                     id="no store"),
    ],
)  # fmt: skip
def test_a_command_that_fails_says_why_and_exits_with_its_code(
    capsys: pytest.CaptureFixture[str], words: list[str], code: Exit
) -> None:
    """On standard error, one sentence, no traceback; as JSON where that was asked for."""
    found, out, err = run(capsys, *words)
    assert (found, out) == (code, "")
    assert err.startswith("tusd-py: ")
    assert "Traceback" not in err
    found, out, err = run(capsys, *words, "--json")
    assert found == code
    assert json.loads(err)["exit"] == code


def test_an_empty_server_has_no_uploads_and_no_dead_letters(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As text and as JSON."""
    assert run(capsys, "uploads", "list")[1] == "no uploads\n"
    assert run_json(capsys, "uploads", "list") == {"uploads": [], "next_after": None}
    assert run(capsys, "events", "dead")[1] == "no dead letters\n"
    assert run_json(capsys, "events", "dead") == {"dead_letters": []}
    assert run_json(capsys, "events", "replay") == {"replayed": 0}
    assert run_json(capsys, "state", "rebuild") == {"uploads": 0, "adopted": 0, "failed": []}


def test_config_check_tells_every_problem(capsys: pytest.CaptureFixture[str]) -> None:
    """And is silent about values."""
    assert run_json(capsys, "config", "check") == {"ok": True, "problems": []}
    code, out, _ = run(capsys, "config", "check", "--http.prot", "x", "--log.level", "y", "--json")
    assert code == Exit.CONFIGURATION
    assert len(json.loads(out)["problems"]) == 2


def test_config_show_tells_origins_and_hides_secrets(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of everything in effect."""
    monkeypatch.setenv("TUSD_PY_AUTH_KEY", "s3cret" * 8)
    code, out, _ = run(capsys, "config", "show", "--http.port", "81")
    assert code == 0
    assert "http.port = 81  (--http.port)" in out
    assert "auth.key = '***'  (TUSD_PY_AUTH_KEY)" in out
    assert "s3cret" not in out
    shown = run_json(capsys, "config", "show")
    assert shown["upload.expire_seconds"] == {"value": 604800.0, "origin": "default"}


def test_config_init_writes_a_file_and_never_over_another(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """What it writes can be read."""
    assert run(capsys, "config", "init", "new.toml")[0] == 0
    before = (tmp_path / "new.toml").read_text()
    assert run(capsys, "config", "init", "new.toml")[0] == Exit.FAILED
    assert run(capsys, "config", "check", "--config", "new.toml")[0] == 0
    assert run(capsys, "config", "init", "-")[1] == before


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["serve"],
        ["token"],
        *(["uploads", one] for one in ("list", "show", "delete")),
        ["state", "rebuild"],
        *(["events", one] for one in ("dead", "replay")),
        *(["config", one] for one in ("check", "show", "init")),
    ],
    ids=" ".join,
)
def test_help_exists_for_every_command(
    capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    """With a sentence on what it does."""
    code, out, _ = run(capsys, *words, "--help")
    assert code == 0
    assert out.startswith("Usage: tusd-py")
    assert len(out.splitlines()) > 4


def test_the_help_of_serve_names_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    """With its variable, and the exit codes."""
    out = " ".join(run(capsys, "serve", "--help")[1].split())
    for word in (
        "--http.port",
        "TUSD_PY_HTTP_PORT",
        "--state.path",
        "Exit codes:",
        "TUSD_PY_CONFIG",
    ):
        assert word in out
