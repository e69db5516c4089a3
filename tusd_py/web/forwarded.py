"""Under which address clients know this server: configured, told by a trusted proxy, or asked for.

Forwarded headers count only where the connection comes from a proxy that the operator named. Of
several proxies' entries the last is taken: the one that the trusted peer wrote itself.
"""

import ipaddress
import re
from typing import Final
from urllib.parse import urlsplit

from tusd_py.core.ids import UploadId, parse_upload_id
from tusd_py.protocol import headers as h
from tusd_py.web.settings import UNIX_PEER

# A host and perhaps a port, without user, path or anything that could end a header.
_AUTHORITY: Final = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]{0,253})|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?", re.ASCII
)
_SCHEMES: Final = ("http", "https")
_WHOLE_URL: Final = re.compile(r"https?://(?:[^/?#@]*@)?([^/?#@]*)", re.ASCII | re.IGNORECASE)
_OF_PROXIES: Final = (
    h.FORWARDED,
    h.VIA,
    h.X_FORWARDED_FOR,
    h.X_FORWARDED_HOST,
    h.X_FORWARDED_PROTO,
)

Peer = object
"""What the transport gives as ``peername``: an address and port, or text for a Unix socket."""


class PublicAddress:
    """Makes the addresses of uploads."""

    def __init__(
        self, base_path: str, public_url: str | None, trusted_proxies: tuple[str, ...]
    ) -> None:
        self._base_path = base_path
        self._fixed = None if public_url is None else public_url + base_path
        # A proxy may have put another path before ours, which clients then repeat.
        self._paths = {base_path, urlsplit(self._fixed or base_path).path}
        self._trusts_unix = UNIX_PEER in trusted_proxies
        self._networks = tuple(
            ipaddress.ip_network(name, strict=False)
            for name in trusted_proxies
            if name != UNIX_PEER
        )

    def location(
        self, upload_id: str, fields: h.Fields, peer: Peer, *, scheme: str, target: str = "/"
    ) -> str:
        """The address of an upload, absolute unless the request names no usable host. ``target``:
        as it stands in the request line. RFC 9112, 3.2.2: a whole URL there counts, not Host."""
        if self._fixed is not None:
            return self._fixed + upload_id
        whole = _WHOLE_URL.match(target)
        host: str | None = whole[1] if whole else _first(fields, h.HOST)
        if (self._networks or self._trusts_unix) and self._is_trusted(peer):
            told_scheme, told_host = _told(fields)
            scheme = told_scheme or scheme
            host = told_host or host
        if host is None or not _AUTHORITY.fullmatch(host):
            return self._base_path + upload_id
        return f"{scheme}://{host}{self._base_path}{upload_id}"

    def find(self, url: str) -> UploadId | None:
        """The upload at ``url``, absolute, relative to the host, or relative to the endpoint; None
        where it is none of ours. Nothing is decoded: our own addresses have nothing to decode. The
        host is not compared: there may be several, and the id is what cannot be guessed."""
        try:
            parts = urlsplit(url)
        except ValueError:
            return None
        if parts.query or parts.fragment or parts.scheme not in ("", "http", "https"):
            return None
        path, slash, name = parts.path.rpartition("/")
        if slash and path + slash not in self._paths:
            return None
        return parse_upload_id(name)

    def _is_trusted(self, peer: Peer) -> bool:
        if not isinstance(peer, tuple):
            return self._trusts_unix
        try:
            # A link-local address comes with its interface behind a percent sign.
            address = ipaddress.ip_address(str(peer[0]).partition("%")[0])
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None)
        address = mapped or address
        return any(address in network for network in self._networks)


def is_forwarded(fields: h.Fields) -> bool:
    """A proxy stands between client and server, as far as it says so. Who lies about it harms
    nobody else."""
    return any(fields.getall(name, []) for name in _OF_PROXIES)


def _first(fields: h.Fields, name: str) -> str | None:
    lines = fields.getall(name, [])
    return lines[0].strip() if lines else None


def _last(fields: h.Fields, name: str) -> str | None:
    lines = fields.getall(name, [])
    return lines[-1].rpartition(",")[2].strip() if lines else None


def _told(fields: h.Fields) -> tuple[str | None, str | None]:
    """Scheme and host as the proxy tells them, each None where it does not or says nonsense."""
    scheme, host = _last(fields, h.X_FORWARDED_PROTO), _last(fields, h.X_FORWARDED_HOST)
    entry = _last(fields, h.FORWARDED)
    if entry is not None:
        said = dict(_pairs_of(entry))
        scheme, host = said.get("proto", scheme), said.get("host", host)
    scheme = scheme.lower() if scheme is not None else None
    return (
        scheme if scheme in _SCHEMES else None,
        host if host is not None and _AUTHORITY.fullmatch(host) else None,
    )


def _pairs_of(entry: str) -> list[tuple[str, str]]:
    """RFC 7239: ``for=192.0.2.60;proto=http;host="example.com:80"``."""
    pairs = (part.partition("=") for part in entry.split(";"))
    return [(key.strip().lower(), value.strip().strip('"')) for key, _, value in pairs]
