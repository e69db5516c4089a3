"""What errors mean, as servers of each version word them, and how scripts are put together."""

import hashlib
import ssl

import pytest
from redis._parsers.base import BaseParser
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from tusd_py.state.base import StateError
from tusd_py.state.redis.faults import Fault, Then, is_new_bucket, judge, judge_dial
from tusd_py.state.redis.lane import Limits, pack_load
from tusd_py.state.redis.scripts import Script

SIX = "ERR Error running script (call to f_cafe): @user_script:9: "
SEVEN = " script: cafe, on @user_script:9."
HIDDEN = "s3cret-name"


def heard(reply: str) -> ResponseError:
    """As the library makes it of what came."""
    error: ResponseError = BaseParser.parse_error(reply)  # type: ignore[no-untyped-call]
    return error


@pytest.mark.parametrize(
    ("reply", "fault", "then"),
    [
        (
            SIX + "@user_script: 9: -OOM command not allowed when used memory > 'maxmemory'. ",
            Fault.MEMORY,
            Then.FAIL,
        ),
        (
            "OOM command not allowed when used memory > 'maxmemory'." + SEVEN,
            Fault.MEMORY,
            Then.FAIL,
        ),
        (
            SIX + "@user_script: 9: -READONLY You can't write against a read only replica. ",
            Fault.READONLY,
            Then.REDIAL,
        ),
        (
            "READONLY You can't write against a read only replica." + SEVEN,
            Fault.READONLY,
            Then.REDIAL,
        ),
        ("MASTERDOWN Link with MASTER is down and ...", Fault.READONLY, Then.REDIAL),
        (
            SIX + "@user_script: 9: -NOREPLICAS Not enough good replicas to write. ",
            Fault.UNSAFE,
            Then.WAIT,
        ),
        ("NOREPLICAS Not enough good replicas to write." + SEVEN, Fault.UNSAFE, Then.WAIT),
        ("MISCONF Redis is configured to save RDB snapshots, but", Fault.UNSAFE, Then.FAIL),
        ("LOADING Redis is loading the dataset in memory", Fault.LOADING, Then.WAIT),
        ("BUSY Redis is busy running a script.", Fault.LOADING, Then.WAIT),
        ("CLUSTERDOWN The cluster is down", Fault.CLUSTER, Then.WAIT),
        ("TRYAGAIN Multiple keys request during rehashing of slot", Fault.CLUSTER, Then.WAIT),
        ("ASK 3999 127.0.0.1:6381", Fault.CLUSTER, Then.WAIT),
        ("MOVED 3999 127.0.0.1:6381", Fault.CLUSTER, Then.FAIL),
        ("CROSSSLOT Keys in request don't hash to the same slot", Fault.CLUSTER, Then.FAIL),
        ("ERR This instance has cluster support disabled", Fault.CLUSTER, Then.FAIL),
        (
            "NOPERM this user has no permissions to run the 'evalsha' command",
            Fault.REFUSED,
            Then.FAIL,
        ),
        (
            SIX + "The user executing the script can't run this command or subcommand ",
            Fault.REFUSED,
            Then.FAIL,
        ),
        (
            "ERR The user executing the script can't publish to the channel mentioned" + SEVEN,
            Fault.REFUSED,
            Then.FAIL,
        ),
        (
            "ERR ACL failure in script: User x has no permissions to run the 'hset' command"
            + SEVEN,
            Fault.REFUSED,
            Then.FAIL,
        ),
        ("WRONGPASS invalid username-password pair or user is disabled.", Fault.REFUSED, Then.WAIT),
        ("NOAUTH Authentication required.", Fault.REFUSED, Then.FAIL),
        ("NOSCRIPT No matching script. Please use EVAL.", Fault.SCRIPT, Then.WAIT),
        ("WRONGTYPE Operation against a key holding the wrong kind", Fault.SCRIPT, Then.FAIL),
        ("ERR user_script:9: BUSYBODY is no code, nor is XOOM", Fault.SCRIPT, Then.FAIL),
    ],
)
def test_a_reply_means_the_same_from_every_version(reply: str, fault: Fault, then: Then) -> None:
    """The sentence is ours: what came over the wire could hold what no log should have."""
    hidden = "" if reply.startswith(("ASK", "MOVED")) else f" {HIDDEN}"
    verdict = judge(heard(reply + hidden))
    assert (verdict.fault, verdict.then) == (fault, then)
    error = verdict.to_error()
    assert type(error) is StateError
    assert error.__cause__ is not None
    assert HIDDEN not in str(error)
    assert str(error)


@pytest.mark.parametrize(
    ("error", "fault", "of_dialling"),
    [
        (RedisConnectionError("Connection closed by server."), Fault.LOST, Fault.CONNECT),
        (ConnectionResetError(), Fault.LOST, Fault.CONNECT),
        (RedisTimeoutError("Timeout connecting"), Fault.TIMEOUT, Fault.CONNECT),
        (TimeoutError(), Fault.TIMEOUT, Fault.CONNECT),
        (ssl.SSLError("wrong version"), Fault.REFUSED, Fault.REFUSED),
        (StateError("too old"), Fault.SCRIPT, Fault.REFUSED),
        (ValueError("of ours"), Fault.SCRIPT, Fault.SCRIPT),
    ],
)
def test_what_happens_to_connections_has_its_kinds_too(
    error: Exception, fault: Fault, of_dialling: Fault
) -> None:
    """A new one that does not come about says where it went."""
    assert judge(error).fault is fault
    verdict = judge_dial(error, "redis:1")
    assert verdict.fault is of_dialling
    assert ("redis:1" in verdict.sentence) == (of_dialling is Fault.CONNECT)


def test_only_a_script_that_misses_its_bucket_says_so() -> None:
    """An answer of that text is an answer."""
    assert is_new_bucket(heard("NEWBUCKET"))
    assert not is_new_bucket(b"NEWBUCKET")
    assert not is_new_bucket(heard("ERR no NEWBUCKET"))


def test_pauses_double_up_to_their_cap_and_are_spread() -> None:
    """Full jitter: any moment up to the ceiling."""
    limits = Limits(connections=1, call_seconds=2.0, retry_first_seconds=0.1, retry_cap_seconds=1.0)
    for failures, ceiling in ((1, 0.1), (2, 0.2), (3, 0.4), (4, 0.8), (5, 1.0), (10_000, 1.0)):
        pauses = [limits.pause_seconds(failures) for _ in range(2000)]
        assert 0 <= min(pauses) < 0.1 * ceiling
        assert 0.9 * ceiling < max(pauses) <= ceiling
    assert limits.attempt_seconds == 1.0


def test_a_script_is_known_by_the_text_that_is_loaded() -> None:
    """Another prefix or clock makes another one; Redis counts bytes, not characters."""
    script = Script("mine", body="return 'ä'")
    composed = script.compose(prefix="up")
    assert composed.sha == hashlib.sha1(composed.text.encode()).hexdigest()
    assert composed == script.compose(prefix="up")
    assert len({script.compose(prefix=p).sha for p in ("up", "down")}) == 2
    assert script.compose(prefix="up", now_lua="5").sha != composed.sha
    size = len(composed.text.encode())
    assert pack_load(composed).startswith(b"*3\r\n$6\r\nSCRIPT\r\n$4\r\nLOAD\r\n$%d\r\n" % size)
