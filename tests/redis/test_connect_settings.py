"""Settings of the state in Redis: what they accept, what they refuse, and what they never show."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tusd_py.config import ConfigError, load
from tusd_py.config.render import build_file, build_flag_help, show
from tusd_py.state.redis.places import base_keys
from tusd_py.state.redis.settings import ParsedUrl, RedisSettings, parse_host, parse_url

SECRET = "geheim"


def made(**values: Any) -> RedisSettings:
    return RedisSettings.model_validate(values)


def test_without_any_setting_it_is_the_redis_of_this_machine() -> None:
    """With the bounds that the README tells of."""
    url = made().parsed_url
    assert url is not None
    assert (url.scheme, url.host, url.port, url.database) == ("redis", "127.0.0.1", 6379, None)
    assert not made().uses_tls
    assert made().call_seconds < 5, "less than a lease"


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("redis://h", ("redis", "h", 6379, None, None, None, None)),
        ("redis://h/", ("redis", "h", 6379, None, None, None, None)),
        ("rediss://h:1/5", ("rediss", "h", 1, None, None, None, 5)),
        ("redis://u:p%40%2F%3a@h", ("redis", "h", 6379, None, "u", "p@/:", None)),
        ("redis://:pw@h:2", ("redis", "h", 2, None, None, "pw", None)),
        ("redis://[::1]:7", ("redis", "::1", 7, None, None, None, None)),
        ("unix:///run/r.sock", ("unix", "", 0, "/run/r.sock", None, None, None)),
        ("unix://u:p@/a%20b", ("unix", "", 0, "/a b", "u", "p", None)),
    ],
)
def test_a_url_says_where_and_who(url: str, parts: tuple[object, ...]) -> None:
    """Escaped characters are what they stand for."""
    found = parse_url(url)
    assert (
        found.scheme,
        found.host,
        found.port,
        found.path,
        found.username,
        found.password,
        found.database,
    ) == parts


@pytest.mark.parametrize(
    "values",
    [
        pytest.param({"url": "http://h"}, id="another scheme"),
        pytest.param({"url": "h:6379"}, id="no scheme"),
        pytest.param({"url": "redis://"}, id="no host"),
        pytest.param({"url": "redis://h:70000"}, id="no such port"),
        pytest.param({"url": "redis://h:x"}, id="a port that is no number"),
        pytest.param({"url": "redis://h/x"}, id="a database that is no number"),
        pytest.param({"url": "redis://h/1/2"}, id="a longer path"),
        pytest.param({"url": "redis://h?socket_timeout=0"}, id="options of the library"),
        pytest.param({"url": "unix://run/r.sock"}, id="a relative socket"),
        pytest.param({"url": "unix:///"}, id="no socket"),
        pytest.param({"sentinels": ["a:0"], "master_name": "m"}, id="port 0"),
        pytest.param({"sentinels": ["a b:1"], "master_name": "m"}, id="no host name"),
        pytest.param({"sentinels": ["a:1", "a:1"], "master_name": "m"}, id="a sentinel twice"),
        pytest.param({"sentinels": ["a:1"]}, id="sentinels without a name"),
        pytest.param({"master_name": "m"}, id="a name without sentinels"),
        pytest.param({"sentinel_password": "x"}, id="their password without sentinels"),
        pytest.param({"cluster_nodes": ["a:1"], "url": "redis://h"}, id="a cluster and a url"),
        pytest.param(
            {"cluster_nodes": ["a:1"], "sentinels": ["a:2"], "master_name": "m"},
            id="a cluster and sentinels",
        ),
        pytest.param({"cluster_nodes": ["a:1"], "database": 1}, id="a cluster's database"),
        pytest.param({"url": "redis://h/1", "database": 2}, id="two databases"),
        pytest.param({"url": f"redis://u:{SECRET}@h", "password": "x"}, id="two passwords"),
        pytest.param({"url": f"redis://:{SECRET}@h", "password_file": "f"}, id="and a file"),
        pytest.param({"url": f"redis://u:{SECRET}@h", "username": "u"}, id="two users"),
        pytest.param({"url": "redis://h", "tls": True}, id="TLS beside a url that says no"),
        pytest.param({"tls_ca_file": "f"}, id="an authority without TLS"),
        pytest.param({"tls": True, "tls_key_file": "f"}, id="a key without a certificate"),
        pytest.param({"buckets": 100}, id="no power of two"),
        pytest.param({"buckets": 512}, id="more buckets than a byte counts"),
        pytest.param({"prefix": "a b"}, id="a space"),
        pytest.param({"prefix": "a{b}"}, id="a hash tag of its own"),
        pytest.param({"prefix": "it's"}, id="a quote, which would end the text of scripts"),
        pytest.param({"prefix": ""}, id="no prefix"),
        pytest.param({"call_seconds": 0}, id="no time"),
        pytest.param({"call_seconds": 0.5}, id="less time than to connect"),
        pytest.param({"connect_seconds": 3.0}, id="more time to connect"),
        pytest.param({"retry_first_seconds": 2.0}, id="a first pause above the cap"),
        pytest.param({"connections": 0}, id="no connection"),
        pytest.param({"socket_timeout": 1}, id="an option of the library"),
    ],
)
def test_what_cannot_be_meant_is_refused(values: dict[str, Any]) -> None:
    """With a sentence; a secret is never in it."""
    with pytest.raises(ValidationError) as refused:
        made(**values)
    for error in refused.value.errors(include_input=False):
        assert error["msg"]
    assert SECRET not in str(refused.value)


def test_secrets_are_shown_nowhere() -> None:
    """Neither where settings are printed nor where the server shows them."""
    settings = made(url=f"redis://u:{SECRET}@h", prefix="p")
    other = made(sentinels=("a:1",), master_name="m", password=SECRET, sentinel_password=SECRET)
    for text in (repr(settings), str(settings), settings.model_dump_json(), repr(other)):
        assert SECRET not in text
    assert SECRET not in repr(parse_url(f"redis://u:{SECRET}@h"))
    environment = {"TUSD_PY_STATE_KIND": "redis", "TUSD_PY_STATE_URL": f"redis://u:{SECRET}@h"}
    tree = load(environment=environment, flags={})
    assert SECRET not in repr(list(show(tree)))
    assert tree.state.settings.url.get_secret_value().endswith("@h")


def test_lists_come_from_the_environment_and_from_flags(tmp_path: Path) -> None:
    """With commas, or as JSON; from a file as a list. The embedded state's path is not asked of
    it."""
    file = tmp_path / "t.toml"
    file.write_text('[state]\nkind = "redis"\nsentinels = ["a:1", "b:2"]\nmaster_name = "m"\n')
    assert load(file=file, environment={}, flags={}).state.settings.sentinels == ("a:1", "b:2")
    for text in ("a:1, b:2", '["a:1", "b:2"]'):
        environment = {"TUSD_PY_STATE_KIND": "redis", "TUSD_PY_STATE_CLUSTER_NODES": text}
        settings = load(environment=environment, flags={}).state.settings
        assert settings.cluster_nodes == ("a:1", "b:2")
        flags = {"state.kind": "redis", "state.cluster-nodes": text, "state.buckets": "64"}
        settings = load(environment={}, flags=flags).state.settings
        assert (settings.cluster_nodes, settings.buckets) == (("a:1", "b:2"), 64)
    with pytest.raises(ConfigError, match="'path'"):
        load(environment={}, flags={"state.kind": "redis", "state.path": "x"})


def test_every_setting_is_documented_beside_those_of_the_embedded_state() -> None:
    """In the commented file and in the help, each with its sentence and its default."""
    file, flags = build_file(), build_flag_help()
    for name in RedisSettings.model_fields:
        if name != "kind":
            assert f"\n##{name} = " in file
            assert f"--state.{name.replace('_', '-')}  [env: TUSD_PY_STATE_{name.upper()}]" in flags


def test_no_key_has_just_the_name_of_a_place() -> None:
    """The names differ in their hash tags, and sort as buckets do."""
    keys = base_keys(made(buckets=4, prefix="up"))
    assert keys == ["up:{00}", "up:{01}", "up:{02}", "up:{03}", "up:{meta}"]


@given(st.text())
def test_any_text_is_a_url_or_is_refused_with_a_sentence(text: str) -> None:
    """Nothing but ValueError escapes, and it repeats nothing of the text."""
    for url in (text, f"redis://{text}", f"unix://{text}"):
        try:
            found = parse_url(url)
        except ValueError as exc:
            assert str(exc).startswith(("must", "a unix URL", "may have"))
        else:
            assert isinstance(found, ParsedUrl)
            assert found.host or found.path


@given(st.text())
def test_any_text_is_an_address_or_is_refused_with_a_sentence(text: str) -> None:
    """Nothing but ValueError escapes."""
    try:
        host, port = parse_host(text, 6379)
    except ValueError as exc:
        assert str(exc).startswith("must")
    else:
        assert host
        assert 0 < port < 65536
