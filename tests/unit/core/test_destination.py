"""A destination is what its template says, and never anything dangerous."""

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.core.builders import AN_ID, an_upload
from tusd_py.core.destination import (
    FIELDS,
    MAX_COMPONENT_BYTES,
    MAX_VALUE_BYTES,
    build_destination,
    validate_template,
)
from tusd_py.core.identity import Owner
from tusd_py.core.ids import ClientId, VideoId
from tusd_py.core.metadata import Metadata, build_pairs


def _named(name: str) -> Metadata:
    return build_pairs({"filename": name.encode("utf-8", "surrogatepass")})


@pytest.mark.parametrize(
    ("template", "wanted"),
    [
        ("{client_id}/{video_id}/{filename}", "4/17/cat.mp4"),
        ("{created}/{stem}-{upload_id}{suffix}", f"1970-01-01/cat-{AN_ID}.mp4"),
        ("fixed/{filename}", "fixed/cat.mp4"),
        ("{suffix}", "mp4"),
        ("{{x}}-{video_id}", "{x}-17"),
    ],
)
def test_a_template_is_filled_in(template: str, wanted: str) -> None:
    """Every field has its value; doubled braces stand for themselves."""
    validate_template(template)
    assert build_destination(template, an_upload()) == wanted


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\fakepath\\clip.mp4", "clip.mp4"),
        (".bashrc", "bashrc"),
        ("..", AN_ID),
        ("", AN_ID),
        ("   ", AN_ID),
        ("a/b/", "b"),
        ("con.mp4", "_con.mp4"),
        ("Lpt1", "_Lpt1"),
        ("a\x00b\nc.mp4", "a_b_c.mp4"),
        ("what?*.mp4", "what__.mp4"),
        ("trailing. . ", "trailing"),
        ("e\u0301.mp4", "\u00e9.mp4"),
        ("gpj.\u202e4pm.mp4", "gpj._4pm.mp4"),
        ("ä" * 100 + ".mp4", "ä" * 58 + ".mp4"),
        ("x" * 300, "x" * MAX_VALUE_BYTES),
    ],
)
def test_a_clients_name_becomes_one_harmless_component(name: str, wanted: str) -> None:
    """Paths, dots, controls, reserved names, length: the suffix survives."""
    assert build_destination("{filename}", an_upload(metadata=_named(name))) == wanted


def test_an_owners_separators_do_not_make_directories() -> None:
    """``a/b`` as a client id is one component."""
    owner = Owner(VideoId("../x"), ClientId("team/4"))
    assert build_destination("{client_id}/{video_id}", an_upload(owner=owner)) == "team_4/_x"


def test_what_the_token_says_wins() -> None:
    """The overrides come before metadata and owner."""
    upload = an_upload(overrides={"filename": "token.mov", "client_id": "9", "video_id": "8"})
    assert build_destination("{client_id}/{video_id}/{stem}{suffix}", upload) == "9/8/token.mov"


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("", "characters"),
        ("x" * 2000, "characters"),
        ("/abs", "relative"),
        ("a//b", "empty"),
        ("a/", "empty"),
        ("a/../b", "dot"),
        ("./b", "dot"),
        (".hidden", "dot"),
        ("{fielname}", "filename"),
        ("{}", "does not know"),
        ("{0}", "does not know"),
        ("{filename.__class__}", "does not know"),
        ("{filename[0]}", "does not know"),
        ("{filename!r}", "neither"),
        ("{created:%Y}", "neither"),
        ("{filename", "cannot be read"),
        ("a\\b", "unfit"),
        ("a\nb", "unfit"),
        ("y" * 80 + "{filename}", "longer"),
        ("/".join("a" * 17), "components"),
    ],
)
def test_a_template_that_cannot_be_used_is_refused_at_the_start(template: str, said: str) -> None:
    """With a sentence that says what is wrong."""
    with pytest.raises(ValueError, match=re.escape(said)):
        validate_template(template)


FIELD = st.sampled_from([f"{{{name}}}" for name in FIELDS])
COMPONENT = st.lists(FIELD, min_size=1, max_size=4).map("".join)
TEXT = st.text(
    st.one_of(st.characters(), st.sampled_from("./\\\0: \u0301e\u202e\U0001f600")), max_size=300
)


@given(
    template=st.lists(COMPONENT, min_size=1, max_size=4).map("/".join),
    name=TEXT,
    video=TEXT,
    client=TEXT,
    override=TEXT,
)
def test_nothing_a_client_says_leads_out(
    template: str, name: str, video: str, client: str, override: str
) -> None:
    """As many components as the template has; none empty, dotted, long, or with a control."""
    validate_template(template)
    upload = an_upload(
        owner=Owner(VideoId(video), ClientId(client)),
        metadata=_named(name),
        overrides={"filename": override} if override else {},
    )
    built = build_destination(template, upload)
    components = built.split("/")
    assert len(components) == template.count("/") + 1
    for one in components:
        assert one and not one.startswith(".") and not one.endswith((".", " "))
        assert len(one.encode()) <= MAX_COMPONENT_BYTES + 1
        assert "\\" not in one and one == unicodedata.normalize("NFC", one)
        assert not {unicodedata.category(char) for char in one} & {"Cc", "Cf", "Cs"}
