"""Health and figures."""

import json

from tests.support.wire import Wire
from tests.unit.web.rig import Rig, running


async def test_a_live_server_says_so(rig: Rig, wire: Wire) -> None:
    answer = await wire.request("GET", "/health/live")
    assert (answer.status, json.loads(answer.body)) == (200, {"status": "live"})
    assert (await wire.request("HEAD", "/health/live")).body == b""
    assert (await wire.request("OPTIONS", "/health/live")).headers["Allow"] == "GET, HEAD, OPTIONS"
    assert (await wire.request("DELETE", "/health/live")).status == 405


async def test_readiness_is_that_of_every_check(rig: Rig, wire: Wire) -> None:
    ready = await wire.request("GET", "/health/ready")
    rig.checks["store"] = False
    unready = await wire.request("GET", "/health/ready")
    assert (ready.status, unready.status) == (200, 503)
    assert json.loads(unready.body)["checks"] == {"state": True, "store": False}


async def test_a_check_that_fails_is_not_ready(rig: Rig, wire: Wire) -> None:
    rig.checks_fail = True
    assert (await wire.request("GET", "/health/ready")).status == 503


async def test_figures_are_served_where_they_are_wanted(rig: Rig, wire: Wire) -> None:
    answer = await wire.request("GET", "/metrics")
    assert (answer.status, answer.body) == (200, b"figures 1\n")
    assert (await wire.request("POST", "/metrics")).status == 405
    async with running(metrics=False) as other:
        quiet = await other.wire()
        assert (await quiet.request("GET", "/metrics")).status == 404
