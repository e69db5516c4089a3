"""What clients hear while their bodies are on the way, and who hears nothing."""

from dataclasses import dataclass, field, replace
from typing import cast

import pytest

from tests.unit.protocol.rig import an_upload, asked, terms
from tests.unit.web.rig import running
from tusd_py.protocol.answers import Answer
from tusd_py.protocol.rufh import Rufh
from tusd_py.protocol.rufh_versions import NEWEST
from tusd_py.web.exchange import Exchange
from tusd_py.web.interim import Interim

NAMED = {"Upload-Draft-Interop-Version": str(NEWEST.version)}
CREATION = NAMED | {"Upload-Complete": "?1", "Content-Length": "5"}
OF_PROXIES = {
    "Forwarded": "for=192.0.2.1",
    "Via": "1.1 a.example",
    "X-Forwarded-For": "192.0.2.1",
    "X-Forwarded-Host": "a.example",
    "X-Forwarded-Proto": "https",
}
GO_GIVES_UP_AFTER = 5


@dataclass(slots=True)
class Heard:
    """A client's side of an exchange, and its clock."""

    is_address_told: bool = False
    now: float = 0.0
    answers: list[Answer] = field(default_factory=list)

    def send_interim(self, answer: Answer) -> bool:
        self.answers.append(answer)
        return True

    @property
    def offsets(self) -> list[int]:
        return [int(offset) for one in self.answers if (offset := one.header("Upload-Offset"))]

    def listener(self) -> Interim:
        return Interim(
            cast(Exchange, self),
            Rufh(terms(), NEWEST),
            asked(NAMED, 5),
            lambda upload: f"/upload/{upload.id}",
            clock=lambda: self.now,
        )


def test_a_body_however_long_is_told_of_a_few_times() -> None:
    """Once at once and then less and less often: with 100 Continue and the address no more than the
    Go clients bear that are still around."""
    heard = Heard()
    listener = heard.listener()
    upload = an_upload(offset=0, length=None)
    assert listener.created(upload)
    told_at = []
    for second in range(10_000):
        heard.now, before = second, len(heard.answers)
        listener.advanced(replace(upload, offset=1 + second))
        if len(heard.answers) > before:
            told_at.append(second)
    assert told_at == [0, 4, 36]
    assert heard.offsets == [1, 5, 37]
    assert 1 + len(heard.answers) == GO_GIVES_UP_AFTER


def test_what_is_known_is_not_told() -> None:
    """A lease is renewed also while nothing comes."""
    heard = Heard()
    listener = heard.listener()
    listener.created(an_upload(offset=0))
    for offset in (0, 0, 3, 3):
        heard.now += 100
        listener.advanced(an_upload(offset=offset))
    assert heard.offsets == [3]


@pytest.mark.parametrize("name", [None, *OF_PROXIES])
@pytest.mark.parametrize(
    ("mode", "direct", "proxied"),
    [("direct", True, False), ("always", True, True), ("never", False, False)],
)
async def test_the_setting_says_who_hears_early(
    mode: str, direct: bool, proxied: bool, name: str | None
) -> None:
    """By default whoever comes without a proxy: nginx takes a 104 for the answer itself."""
    more = {} if name is None else {name: OF_PROXIES[name]}
    async with running(interim_answers=mode) as rig:
        wire = await rig.wire()
        await wire.send_head("POST", "/upload/", CREATION | more)
        await wire.send(b"12345")
        answer = await wire.read_response()
    assert answer.status == 201
    assert [early.status for early in answer.interim] == [104] * (
        proxied if name is not None else direct
    )
