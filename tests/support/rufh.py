"""The requests of Resumable Uploads for HTTP, one method each, in any of its interop versions.

``headers`` override what a method sends; an empty value leaves the header away.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from tests.support.wire import Response, Wire, connected, path_of

PARTIAL_UPLOAD = "application/partial-upload"
VERSION = "Upload-Draft-Interop-Version"
OLDEST = 3
NEWEST = 8
VERSIONS = (3, 4, 5, 6, 7, 8)
PROBLEMS = "https://iana.org/assignments/http-problem-types#"
Given = Mapping[str, str] | None


@dataclass(frozen=True, slots=True)
class Rufh:
    """Speaks one version; None is the newest, without naming it, as the RFC will have it."""

    version: int | None = None

    @property
    def is_old(self) -> bool:
        """3 to 6, whose rules differ most from those of today."""
        return self.version is not None and self.version < 7

    @property
    def completion_field(self) -> str:
        return "Upload-Incomplete" if self.version == OLDEST else "Upload-Complete"

    def completion(self, is_end: bool) -> dict[str, str]:
        """The field that says whether this is the end."""
        is_true = is_end != (self.version == OLDEST)
        return {self.completion_field: "?1" if is_true else "?0"}

    def is_complete(self, answer: Response) -> bool:
        """What the answer says; KeyError where it does not."""
        value = answer.headers[self.completion_field]
        assert value in ("?0", "?1"), value
        return (value == "?1") != (self.version == OLDEST)

    def named(self) -> dict[str, str]:
        return {} if self.version is None else {VERSION: str(self.version)}

    async def create(
        self,
        endpoint: str,
        data: bytes | None,
        *,
        is_end: bool,
        bearer: str | None,
        headers: Given = None,
        method: str = "POST",
        wire: Wire | None = None,
    ) -> Response:
        """``data`` None: without any content."""
        sent = self.creation(is_end=is_end, bearer=bearer)
        return await ask(method, endpoint, sent, headers, data, wire)

    def creation(self, *, is_end: bool, bearer: str | None) -> dict[str, str]:
        """The head of a creation."""
        token = {} if bearer is None else {"Authorization": f"Bearer {bearer}"}
        return self.named() | self.completion(is_end) | token

    async def append(
        self,
        url: str,
        offset: int,
        data: bytes,
        *,
        is_end: bool,
        headers: Given = None,
        wire: Wire | None = None,
    ) -> Response:
        return await ask("PATCH", url, self.appending(offset, is_end=is_end), headers, data, wire)

    def appending(self, offset: int, *, is_end: bool) -> dict[str, str]:
        """The head of an append. The media type is sent by the versions that have it."""
        sent = self.named() | self.completion(is_end) | {"Upload-Offset": str(offset)}
        if self.version is None or self.version >= 6:
            sent["Content-Type"] = PARTIAL_UPLOAD
        return sent

    async def head(
        self, url: str, *, headers: Given = None, wire: Wire | None = None, method: str = "HEAD"
    ) -> Response:
        """HEAD; without a version it names no protocol at all, as the RFC's will not."""
        return await ask(method, url, self.named(), headers, None, wire)

    async def delete(
        self, url: str, *, headers: Given = None, wire: Wire | None = None
    ) -> Response:
        return await ask("DELETE", url, self.named(), headers, None, wire)


async def ask(
    method: str,
    url: str,
    sent: Mapping[str, str],
    headers: Given,
    body: bytes | None,
    wire: Wire | None,
) -> Response:
    """One request, on ``wire`` or on a connection of its own."""
    given = dict(headers or {})
    lower = {name.lower() for name in given}
    merged = {name: value for name, value in sent.items() if name.lower() not in lower}
    merged |= {name: value for name, value in given.items() if value != ""}
    if wire is not None:
        return await wire.request(method, path_of(url), merged, body)
    async with connected(url) as own:
        return await own.request(method, path_of(url), merged, body)


def parse_limits(answer: Response) -> dict[str, int]:
    """``Upload-Limit``, whose members are Integers without parameters."""
    members = (member.strip() for member in answer.headers["Upload-Limit"].split(","))
    return {key: int(value) for key, _, value in (member.partition("=") for member in members)}
