"""Addresses of uploads: configured, told by a proxy that is trusted, or taken from the request."""

import pytest
from multidict import CIMultiDict

from tusd_py.web.forwarded import PublicAddress

PEER = ("10.1.2.3", 4711)


@pytest.mark.parametrize(
    ("fields", "peer", "location"),
    [
        ({"Host": "a.example:81"}, PEER, "http://a.example:81/upload/x"),
        ({"Host": "[::1]:81"}, PEER, "http://[::1]:81/upload/x"),
        ({}, PEER, "/upload/x"),
        ({"Host": "a b"}, PEER, "/upload/x"),
        ({"Host": "user@a"}, PEER, "/upload/x"),
        ({"Host": "a/b"}, PEER, "/upload/x"),
        (
            {"Host": "a", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "b"},
            PEER,
            "https://b/upload/x",
        ),
        (
            {"Host": "a", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "b"},
            ("192.0.2.1", 1),
            "http://a/upload/x",
        ),
        (
            {"Host": "a", "Forwarded": 'for=1;host=evil, for=2; Proto=HTTPS;host="b:1"'},
            PEER,
            "https://b:1/upload/x",
        ),
        (
            {"Host": "a", "Forwarded": "host=c/d;proto=gopher"},
            ("::ffff:10.1.2.3", 1, 0, 0),
            "http://a/upload/x",
        ),
        ({"Host": "a", "X-Forwarded-Proto": "https"}, "", "https://a/upload/x"),
        ({"Host": "a", "X-Forwarded-Proto": "https"}, ("nonsense", 1), "http://a/upload/x"),
    ],
)
def test_a_trusted_proxy_is_believed_and_nobody_else(
    fields: dict[str, str], peer: object, location: str
) -> None:
    """SEC-FORWARDED, SEC-INJECT."""
    address = PublicAddress("/upload/", None, ("10.0.0.0/8", "unix"))
    assert address.location("x", CIMultiDict(fields), peer, scheme="http") == location


def test_without_trust_in_sockets_a_socket_is_not_believed() -> None:
    address = PublicAddress("/upload/", None, ("10.0.0.1",))
    fields = CIMultiDict({"Host": "a", "X-Forwarded-Host": "b"})
    assert address.location("x", fields, "", scheme="http") == "http://a/upload/x"


def test_the_configured_address_always_wins() -> None:
    address = PublicAddress("/upload/", "https://cdn.example/in", ("10.0.0.0/8",))
    fields = CIMultiDict({"Host": "a", "X-Forwarded-Host": "b"})
    assert address.location("x", fields, PEER, scheme="http") == "https://cdn.example/in/upload/x"
