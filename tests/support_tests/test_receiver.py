"""The receiver: what it takes for a good signature, and its ways to be away."""

import asyncio
import base64
import hashlib
import hmac
import json
import time

import aiohttp
import pytest
from multidict import CIMultiDict

from tests.support.receiver import (
    FAILS,
    HANGS,
    SECRET,
    BadSignature,
    receiving,
    slow_down,
    verify_signature,
)

# The example in the text of the Standard Webhooks specification.
SPEC_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
SPEC_HEADERS = CIMultiDict(
    {
        "Webhook-Id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "Webhook-Timestamp": "1614265330",
        "Webhook-Signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
)
SPEC_BODY = b'{"test": 2432232314}'


def signed(body: bytes, secret: str = SECRET) -> dict[str, str]:
    now = str(int(time.time()))
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.digest(key, b"1." + now.encode() + b"." + body, hashlib.sha256)
    signature = "v1," + base64.b64encode(digest).decode()
    return {"webhook-id": "1", "webhook-timestamp": now, "webhook-signature": signature}


def test_the_example_of_the_specification_is_good() -> None:
    verify_signature(SPEC_SECRET, SPEC_HEADERS, SPEC_BODY, now=1614265331)


@pytest.mark.parametrize(
    ("headers", "body", "now"),
    [
        pytest.param({}, SPEC_BODY + b" ", 1614265331, id="another body"),
        pytest.param({"Webhook-Id": "msg_x"}, SPEC_BODY, 1614265331, id="another id"),
        pytest.param({"Webhook-Timestamp": "1614265331"}, SPEC_BODY, 1614265331, id="time"),
        pytest.param({"Webhook-Timestamp": "1614265330.5"}, SPEC_BODY, 1614265331, id="fraction"),
        pytest.param({}, SPEC_BODY, 1614265331 + 301, id="too old"),
        pytest.param({"Webhook-Signature": "v2,abc"}, SPEC_BODY, 1614265331, id="other version"),
    ],
)
def test_anything_else_is_not(headers: dict[str, str], body: bytes, now: int) -> None:
    changed = SPEC_HEADERS.copy()
    changed.update(headers)
    with pytest.raises(BadSignature):
        verify_signature(SPEC_SECRET, changed, body, now=now)


def test_one_good_signature_among_several_is_enough() -> None:
    several = SPEC_HEADERS.copy()
    several["Webhook-Signature"] = "v1,bad v2,odd " + SPEC_HEADERS["Webhook-Signature"]
    verify_signature(SPEC_SECRET, several, SPEC_BODY, now=1614265331)


async def test_deliveries_are_kept_and_awaited() -> None:
    event = {"id": "e1", "type": "upload.completed", "data": {"upload_id": "u1"}}
    body = json.dumps(event).encode()
    async with receiving() as receiver, aiohttp.ClientSession() as session:
        receiver.answer(FAILS, slow_down(7))
        statuses = []
        for headers in ({}, signed(body), signed(body)):
            async with session.post(receiver.url, data=body, headers=headers) as answer:
                statuses.append((answer.status, answer.headers.get("Retry-After")))
        assert statuses == [(500, None), (429, "7"), (204, None)]
        assert (await receiver.next()).problem == "no header 'webhook-id'"
        assert (await receiver.next()).problem is None
        told = await receiver.told("u1", "upload.completed")
        assert (told.event_id, told.problem, told.body) == ("e1", None, body)
        assert receiver.of("u1") == [told] and len(receiver.deliveries) == 3


async def test_away_refuses_and_back_is_on_the_same_port() -> None:
    async with receiving() as receiver, aiohttp.ClientSession() as session:
        receiver.answer(HANGS)
        hanging = asyncio.create_task(session.post(receiver.url, data=b"{}").__aenter__())
        assert not (await receiver.next()).taken
        await receiver.go_away()
        with pytest.raises(aiohttp.ClientConnectionError):
            await hanging
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.post(receiver.url, data=b"{}")
        await receiver.come_back()
        async with session.post(receiver.url, data=b"{}") as answer:
            assert answer.status == 204
