"""What browsers are told."""

import pytest

from tusd_py.protocol.cors import Cors

ORIGIN = "https://a.example"


def test_any_origin_is_answered_with_a_star_and_nothing_that_varies() -> None:
    """CORS-ANSWER, CORS-EXPOSE, CORS-PREFLIGHT."""
    cors = Cors()
    key = cors.key_of(ORIGIN)
    plain, preflight = dict(cors.headers(key)), dict(cors.preflight(key))
    assert plain["Access-Control-Allow-Origin"] == preflight["Access-Control-Allow-Origin"] == "*"
    assert "Vary" not in plain
    assert "Upload-Expires" in plain["Access-Control-Expose-Headers"]
    assert "X-Request-ID" in preflight["Access-Control-Allow-Headers"]
    assert list(cors.keys()) == [None]


def test_scripts_may_speak_both_protocols() -> None:
    """CORS-PREFLIGHT, CORS-EXPOSE."""
    cors = Cors()
    plain, preflight = dict(cors.headers(None)), dict(cors.preflight(None))
    for name in ("Upload-Complete", "Upload-Incomplete", "Upload-Limit", "Repr-Digest"):
        assert name in plain["Access-Control-Expose-Headers"].split(", ")
    for name in ("Upload-Incomplete", "Content-Disposition", "Want-Repr-Digest", "Content-Digest"):
        assert name in preflight["Access-Control-Allow-Headers"].split(", ")
    assert "PUT" in preflight["Access-Control-Allow-Methods"].split(", ")


def test_scripts_may_download_in_parts_and_follow_events() -> None:
    """CORS-PREFLIGHT, CORS-EXPOSE."""
    cors = Cors()
    plain, preflight = dict(cors.headers(None)), dict(cors.preflight(None))
    for name in ("Content-Range", "Accept-Ranges", "ETag", "Content-Disposition"):
        assert name in plain["Access-Control-Expose-Headers"].split(", ")
    for name in ("Range", "If-Range", "If-None-Match", "Last-Event-ID"):
        assert name in preflight["Access-Control-Allow-Headers"].split(", ")


def test_listed_origins_are_echoed_with_credentials_and_others_get_nothing() -> None:
    """CORS-VARY, CORS-REFLECT."""
    cors = Cors([ORIGIN], credentials=True, extra_allowed=["X-A"], extra_exposed=["X-B"])
    plain = dict(cors.headers(cors.key_of(ORIGIN)))
    preflight = dict(cors.preflight(cors.key_of(ORIGIN)))
    assert plain["Access-Control-Allow-Origin"] == ORIGIN
    assert plain["Access-Control-Allow-Credentials"] == "true"
    assert plain["Access-Control-Expose-Headers"].endswith(", X-B")
    assert preflight["Access-Control-Allow-Headers"].endswith(", X-A")
    for other in ("https://b.example", "null", "", None, "https://a.example\r\nx: y"):
        assert cors.key_of(other) is None
        assert "Access-Control-Allow-Origin" not in dict(cors.headers(cors.key_of(other)))
        assert dict(cors.preflight(cors.key_of(other))) == {"Vary": "Origin"}


def test_a_star_with_credentials_is_refused() -> None:
    with pytest.raises(ValueError, match="credentials"):
        Cors(["*"], credentials=True)
