"""``multipart/form-data`` as bytes, well formed or not: a form is its parts between boundaries."""

from collections.abc import Iterable

WEBKIT = b"----WebKitFormBoundary7MA4YWxkTrZu0gW"
FIREFOX = b"---------------------------293582696224464"
CURL = b"------------------------d74496d66958873e"


def field(name: str, value: str | bytes, *more: str) -> bytes:
    """A part that is a field; ``more`` are further lines of its head."""
    raw = value.encode() if isinstance(value, str) else value
    return part([f'Content-Disposition: form-data; name="{name}"', *more], raw)


def file(data: bytes, filename: str = "film.mp4", media_type: str | None = "video/mp4") -> bytes:
    """A part that is a file, as browsers write it."""
    lines = [f'Content-Disposition: form-data; name="file"; filename="{filename}"']
    return part(lines + ([f"Content-Type: {media_type}"] if media_type else []), data)


def part(lines: Iterable[str], content: bytes) -> bytes:
    """A part with this head."""
    return "\r\n".join([*lines, "", ""]).encode() + content


def form(
    *parts: bytes,
    boundary: bytes = WEBKIT,
    before: bytes = b"",
    after: bytes = b"\r\n",
    is_ended: bool = True,
) -> bytes:
    """The body. ``before`` the first boundary, ``after`` the last; without the last it ends within
    its last part."""
    body = before + b"".join(b"--" + boundary + b"\r\n" + one + b"\r\n" for one in parts)
    return body + b"--" + boundary + b"--" + after if is_ended else body.removesuffix(b"\r\n")


def form_type(boundary: bytes = WEBKIT) -> dict[str, str]:
    """The header that names the boundary."""
    return {"Content-Type": f"multipart/form-data; boundary={boundary.decode()}"}
