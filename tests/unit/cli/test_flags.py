"""Settings are found among the words of a command line, wherever they stand."""

from pathlib import Path

import pytest

from tusd_py.cli.flags import FlagWithoutValue, split_flags


@pytest.mark.parametrize(
    ("words", "rest", "values"),
    [
        pytest.param(["serve"], ["serve"], {}, id="none"),
        pytest.param(
            ["serve", "--http.port", "0"], ["serve"], {"http.port": "0"}, id="a word of its own"
        ),
        pytest.param(["--http.port=0", "serve"], ["serve"], {"http.port": "0"}, id="before"),
        pytest.param(
            ["serve", "--http.metrics", "--json"], ["serve", "--json"], {"http.metrics": "true"},
            id="on",
        ),
        pytest.param(["--no-http.metrics", "x"], ["x"], {"http.metrics": "false"}, id="off"),
        pytest.param(["--auth.issuer=a=b"], [], {"auth.issuer": "a=b"}, id="an equals sign in it"),
        pytest.param(["--auth.issuer="], [], {"auth.issuer": ""}, id="empty"),
        pytest.param(["--data-dir", "d"], [], {"data-dir": "d"}, id="the data directory"),
        pytest.param(["--hooks", "[]"], [], {"hooks": "[]"}, id="hooks"),
        pytest.param(["a", "--", "--http.port", "0"], ["a", "--", "--http.port", "0"], {},
                     id="not behind two dashes"),
        pytest.param(["token", "--video-id", "v.1"], ["token", "--video-id", "v.1"], {},
                     id="a command's own"),
    ],
)  # fmt: skip
def test_settings_are_taken_off_the_line(
    words: list[str], rest: list[str], values: dict[str, str]
) -> None:
    """What is left is the command."""
    left, flags = split_flags(words)
    assert (left, flags.values) == (rest, values)


def test_the_file_is_not_a_setting() -> None:
    """It says where settings are."""
    assert split_flags(["--config", "c.toml"])[1].file == Path("c.toml")


@pytest.mark.parametrize("words", [["--config"], ["--data-dir", "--http.port", "1"]])
def test_a_flag_that_needs_a_value_says_so(words: list[str]) -> None:
    """It does not swallow the next flag."""
    with pytest.raises(FlagWithoutValue, match=r"needs a value"):
        split_flags(words)
