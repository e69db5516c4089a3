"""Settings from file, environment and flags; what is wrong is told at once, with its source."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tusd_py.config import Collected, ConfigError, Tree, build, load

KEY = "a-secret-of-enough-bytes-for-hmac-0123456789"


def written(directory: Path, text: str) -> Path:
    file = directory / "my.toml"
    file.write_text(text)
    return file


def loaded(
    file: Path | None = None,
    environment: dict[str, str] | None = None,
    flags: dict[str, str] | None = None,
) -> Tree:
    return load(file=file, environment=environment or {}, flags=flags or {})


def problems(
    file: Path | None = None,
    environment: dict[str, str] | None = None,
    flags: dict[str, str] | None = None,
) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        loaded(file, environment, flags)
    return caught.value.problems


@pytest.fixture(autouse=True)
def _in_an_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")


def test_nothing_needs_to_be_set() -> None:
    """A newcomer starts with defaults, on loopback, in ./data."""
    tree = loaded()
    assert tree.http.host == "127.0.0.1"
    assert tree.store.settings.root == Path("data/uploads")
    assert tree.state.settings.path == Path("data/state.db")
    assert tree.hooks == ()


def test_a_flag_wins_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    """Each source alone counts, the stronger hides the weaker."""
    file = written(tmp_path, "[http]\nport = 1001\n")
    environment = {"TUSD_PY_HTTP_PORT": "1002"}
    flags = {"http.port": "1003"}
    assert loaded(file).http.port == 1001
    assert loaded(file, environment).http.port == 1002
    assert loaded(file, environment, flags).http.port == 1003


def test_the_file_is_named_by_flag_or_environment_or_lies_here(tmp_path: Path) -> None:
    """--config, TUSD_PY_CONFIG, ./tusd.toml, in this order."""
    here = Path("tusd.toml")
    here.write_text("[http]\nport = 1\n")
    named = written(tmp_path, "[http]\nport = 2\n")
    assert loaded().http.port == 1
    assert loaded(environment={"TUSD_PY_CONFIG": str(named)}).http.port == 2
    assert loaded(named, environment={"TUSD_PY_CONFIG": str(here)}).http.port == 2


def test_an_unknown_key_names_its_file_its_line_and_the_nearest_key(tmp_path: Path) -> None:
    """A typing error must not silently leave a default in place."""
    file = written(tmp_path, "[upload]\n\nmax_byte = 1\n")
    expected = f"{file}: [upload] does not know 'max_byte'; did you mean 'max_bytes'? (line 3)"
    assert problems(file) == (expected,)


@pytest.mark.parametrize(
    ("variable", "near"),
    [
        ("TUSD_PY_HTP_PORT", "TUSD_PY_HTTP_PORT"),
        ("TUSD_PY_DATADIR", "TUSD_PY_DATA_DIR"),
        ("TUSD_PY_HTTP_PROT", "port"),
        ("TUSD_PY_STORE_MIN_FREE_BYTE", "min_free_bytes"),
    ],
)
def test_an_unknown_variable_stops_the_start(variable: str, near: str) -> None:
    """Only names that begin with the prefix are ours, and of those all must be known."""
    (problem,) = problems(environment={variable: "1", "TUSDPY_OTHER": "1"})
    assert variable in problem
    assert f"did you mean {near!r}?" in problem


@pytest.mark.parametrize("flag", ["http.prot", "htp.port", "sections"])
def test_an_unknown_flag_stops_the_start(flag: str) -> None:
    """Flags are judged like the rest."""
    (problem,) = problems(flags={flag: "1"})
    assert f"--{flag}" in problem


@given(key=st.from_regex(r"[a-z][a-z_]{0,20}", fullmatch=True))
def test_every_key_that_is_not_known_is_refused(key: str) -> None:
    """Whatever it is called."""
    from tusd_py.service.settings import UploadSettings

    if key in UploadSettings.model_fields:
        return
    with pytest.raises(ConfigError) as caught:
        load(environment={}, flags={f"upload.{key}": "1"})
    assert f"does not know {key!r}" in caught.value.problems[0]


def test_everything_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    """One start shows all of it."""
    file = written(
        tmp_path,
        'dta_dir = "x"\n[http]\nport = 70000\n[uplod]\na = 1\n[store]\nkind = "dsk"\n'
        '[[hooks]]\nname = "a"\nkind = "webhok"\n',
    )
    found = problems(file, {"TUSD_PY_LOG_LEVEL": "loud"}, {"process.workers": "0"})
    for part in ("dta_dir", "[http] port", "[uplod]", "[store] kind", "[[hooks]] a kind"):
        assert any(part in one and str(file) in one for one in found), part
    assert any("TUSD_PY_LOG_LEVEL" in one and "'debug'" in one for one in found)
    assert any("--process.workers" in one for one in found)
    assert len(found) == 7


def test_no_problem_shows_a_value(tmp_path: Path) -> None:
    """A secret in the wrong place, or of the wrong form, stays secret."""
    secret = "hunter2-hunter2"
    file = written(
        tmp_path, f'[auth]\nkey = ["{secret}"]\n[http]\nport = "{secret}"\n{secret} = 1\n'
    )
    found = problems(file, {"TUSD_PY_UPLOAD_LEASE_SECONDS": secret})
    assert len(found) == 4
    # The unknown key itself is named: it is not a value.
    assert not any(secret in one for one in found if "does not know" not in one)


def test_a_file_that_is_no_toml_is_told_with_its_place(tmp_path: Path) -> None:
    """And one that is not there too."""
    assert "is not TOML" in problems(written(tmp_path, "[http\n"))[0]
    assert "cannot be read" in problems(tmp_path / "none.toml")[0]


@pytest.mark.parametrize("text", ["none", "None"])
def test_none_switches_off_what_can_be_switched_off(tmp_path: Path, text: str) -> None:
    """TOML has no word for it."""
    assert loaded(written(tmp_path, f'[upload]\nexpire_seconds = "{text}"\n')).upload.limits
    tree = loaded(environment={"TUSD_PY_UPLOAD_EXPIRE_SECONDS": text})
    assert tree.upload.expire_seconds is None
    assert "lease_seconds" in problems(environment={"TUSD_PY_UPLOAD_LEASE_SECONDS": text})[0]


def test_sizes_lists_and_numbered_choices_are_read_from_text() -> None:
    """The environment and flags know only text."""
    tree = loaded(
        environment={
            "TUSD_PY_UPLOAD_MAX_BYTES": "30 GB",
            "TUSD_PY_AUTH_ALGORITHMS": "HS256, HS512",
            "TUSD_PY_AUTH_REFUSAL_STATUS": "500",
        }
    )
    assert tree.upload.max_bytes == 30_000_000_000
    assert tree.auth.settings.algorithms == ("HS256", "HS512")
    assert tree.auth.settings.refusal_status == 500
    json = loaded(flags={"auth.algorithms": '["HS384"]'})
    assert json.auth.settings.algorithms == ("HS384",)


def test_what_is_not_told_where_to_lie_lies_in_the_data_directory(tmp_path: Path) -> None:
    """A path that is given stays as it is given."""
    tree = loaded(flags={"data-dir": "/srv/up", "state.path": "mine.db"})
    assert tree.store.settings.root == Path("/srv/up/uploads")
    assert tree.state.settings.path == Path("mine.db")
    assert loaded(environment={"TUSD_PY_DATA_DIR": "/d"}).data_dir == Path("/d")
    assert loaded(written(tmp_path, 'data_dir = "/f"\n')).data_dir == Path("/f")


HOOK = '[[hooks]]\nname = "enc-1"\nkind = "webhook"\nurl = "https://enc.example/x"\n'


def test_a_hook_gets_its_secret_from_the_environment(tmp_path: Path) -> None:
    """A variable names the hook by its name."""
    tree = loaded(written(tmp_path, HOOK), {"TUSD_PY_HOOKS_ENC_1_SECRET": KEY})
    (hook,) = tree.hooks
    assert hook.kind == "webhook"
    assert hook.settings.secret.get_secret_value() == KEY
    (problem,) = problems(written(tmp_path, HOOK), {"TUSD_PY_HOOKS_OTHER_SECRET": KEY})
    assert "names no hook" in problem


def test_hooks_can_be_given_without_a_file() -> None:
    """As JSON, by variable or by flag, the flag winning."""
    text = '[{"name": "a", "kind": "webhook", "url": "http://h/x"}]'
    other = text.replace('"a"', '"b"')
    assert loaded(environment={"TUSD_PY_HOOKS": text}).hooks[0].settings.name == "a"
    tree = loaded(environment={"TUSD_PY_HOOKS": text}, flags={"hooks": other})
    assert [hook.settings.name for hook in tree.hooks] == ["b"]
    assert "JSON list" in problems(flags={"hooks": "{"})[0]


def test_two_hooks_of_one_name_are_refused(tmp_path: Path) -> None:
    """Undelivered events belong to a name."""
    (problem,) = problems(written(tmp_path, HOOK + HOOK))
    assert "'enc-1' is used twice" in problem


def test_a_hook_that_lacks_something_is_told_by_name(tmp_path: Path) -> None:
    """What is needed and not there."""
    (problem,) = problems(written(tmp_path, '[[hooks]]\nname = "enc"\nkind = "webhook"\n'))
    assert problem == f"{tmp_path / 'my.toml'}: [[hooks]] enc needs 'url'"


def test_another_process_gets_the_same_tree(tmp_path: Path) -> None:
    """Handed over as JSON, secrets, origins and all."""
    file = written(tmp_path, HOOK + "[upload]\nmax_bytes = 7\n")
    environment = {"TUSD_PY_HOOKS_ENC_1_SECRET": KEY, "TUSD_PY_AUTH_KEY": KEY}
    tree = loaded(file, environment, {"http.port": "0"})
    again = build(Collected.from_json(tree.given.to_json()))
    assert again == tree
    assert again.auth.settings.key.get_secret_value() == KEY
