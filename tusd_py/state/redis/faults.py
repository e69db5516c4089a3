"""What goes wrong with Redis: which kinds there are, what to do, and a sentence for the operator.

No sentence repeats what came over the wire: it could hold what nobody should read in a log.
"""

import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from redis.exceptions import (
    AskError,
    AuthenticationError,
    BusyLoadingError,
    MovedError,
    NoScriptError,
    RedisError,
    ResponseError,
)
from redis.exceptions import TimeoutError as RedisTimeoutError

from tusd_py.state.base import StateError

OnFault = Callable[[str], None]
"""Told of every fault, with its kind: one of ``Fault``."""


class Fault(StrEnum):
    """Kinds of faults, as metrics count them."""

    CONNECT = "connect"
    """No connection came about."""
    LOST = "lost"
    """A connection ended while answers were awaited."""
    TIMEOUT = "timeout"
    """No answer in time."""
    OVERLOAD = "overload"
    """More calls wait here than can be served in time."""
    REFUSED = "refused"
    """Redis does not let us: password, certificate, rights."""
    LOADING = "loading"
    """It reads its data, or is busy with a script of somebody else's."""
    READONLY = "readonly"
    """It is a replica."""
    MEMORY = "memory"
    """Its memory is full."""
    UNSAFE = "unsafe"
    """It takes no writes: too few replicas, or its disk fails."""
    CLUSTER = "cluster"
    """The cluster, or that slot of it, is not served just now."""
    SUBSCRIPTION = "subscription"
    """The connection that hears of other processes was lost."""
    SCRIPT = "script"
    """A fault of ours, or data that somebody else has touched."""


class Then(StrEnum):
    """What to do with the call."""

    FAIL = "fail"
    WAIT = "wait"
    """Try again after a pause, while there is time."""
    REDIAL = "redial"
    """As WAIT, with new connections."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an error means."""

    fault: Fault
    then: Then
    sentence: str
    cause: BaseException | None = field(default=None, compare=False, repr=False)

    def to_error(self) -> StateError:
        # Not StateFull where memory is full: clients are put off as by any Redis that is away (503,
        # not 507), and a body that has come waits for memory while its lease lasts.
        error = StateError(self.sentence)
        error.__cause__ = self.cause
        return error


_REFUSED: Final = Verdict(
    Fault.REFUSED,
    Then.FAIL,
    "Redis refuses a command: give the user the rights that conf/redis names",
)
_BY_CODE: Final = {
    "OOM": Verdict(
        Fault.MEMORY,
        Then.FAIL,
        "Redis has no memory left: raise its maxmemory, or let uploads be removed earlier",
    ),
    "READONLY": Verdict(
        Fault.READONLY,
        Then.REDIAL,
        "this Redis is a replica that takes no writes: give the address of the master, or the "
        "sentinels'",
    ),
    "LOADING": Verdict(Fault.LOADING, Then.WAIT, "Redis is still loading its data"),
    "BUSY": Verdict(Fault.LOADING, Then.WAIT, "Redis is busy with a script: look into its SLOWLOG"),
    "MASTERDOWN": Verdict(
        Fault.READONLY, Then.REDIAL, "this Redis is a replica that has lost its master"
    ),
    "NOREPLICAS": Verdict(
        Fault.UNSAFE,
        Then.WAIT,
        "Redis takes no writes: fewer replicas are connected than its min-replicas-to-write",
    ),
    "MISCONF": Verdict(
        Fault.UNSAFE,
        Then.FAIL,
        "Redis takes no writes because it cannot save its data: look into its log and at its disk",
    ),
    "CLUSTERDOWN": Verdict(Fault.CLUSTER, Then.WAIT, "the Redis Cluster is down"),
    "TRYAGAIN": Verdict(Fault.CLUSTER, Then.WAIT, "a slot of the Redis Cluster is being moved"),
    "CROSSSLOT": Verdict(
        Fault.CLUSTER,
        Then.FAIL,
        "this Redis is of a Cluster: name its nodes in state.cluster_nodes instead of state.url",
    ),
    "NOPERM": _REFUSED,
    "NOAUTH": Verdict(
        Fault.REFUSED,
        Then.FAIL,
        "Redis wants a password: state.password_file or state.password",
    ),
    "WRONGPASS": Verdict(
        Fault.REFUSED, Then.WAIT, "Redis does not know the user, or the password is wrong"
    ),
}
# Where a script met the error, Redis before 7 has the code somewhere in the sentence.
_CODE: Final = re.compile(r"(?<![\w'])(" + "|".join(_BY_CODE) + r")(?![\w'])")
_NO_RIGHTS: Final = re.compile(r"ACL failure|[Nn]o permissions|can't (?:run|access|publish)")
_NAME_MISMATCHES: Final = frozenset({62, 64})
"""X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH."""
_LAYOUT: Final = re.compile(r"LAYOUT (\d+) (\d+)")


def is_new_bucket(reply: object) -> bool:
    """Whether the script found no such bucket: it must be opened before."""
    return isinstance(reply, ResponseError) and str(reply).startswith("NEWBUCKET")


def judge(error: BaseException, *, is_cluster: bool = False) -> Verdict:
    """What an error of redis-py, of asyncio or of the system means."""
    return replace(_judge(error, is_cluster=is_cluster), cause=error)


def judge_dial(error: BaseException, address: object) -> Verdict:
    """As ``judge``, of one that a new connection met."""
    if isinstance(error, StateError):
        return Verdict(Fault.REFUSED, Then.FAIL, str(error), error)
    verdict = judge(error)
    if "max number of clients" in str(error):
        sentence = "Redis has no connection free: raise its maxclients"
        return replace(verdict, fault=Fault.CONNECT, sentence=sentence)
    if verdict.fault in (Fault.LOST, Fault.TIMEOUT):
        sentence = f"Redis cannot be reached at {address}"
        return replace(verdict, fault=Fault.CONNECT, sentence=sentence)
    return verdict


def _judge(error: BaseException, *, is_cluster: bool) -> Verdict:
    if isinstance(error, MovedError) and not is_cluster:
        return _BY_CODE["CROSSSLOT"]
    if isinstance(error, AskError):
        # Not followed: the keys of a bucket go over one by one, and a script would find only some
        # of them. While a slot moves its bucket is not served; the keys that scripts declare never
        # exist, so that the old node answers ASK to every call.
        return _BY_CODE["TRYAGAIN"]
    if isinstance(error, BusyLoadingError):
        return _BY_CODE["LOADING"]
    if isinstance(error, AuthenticationError):
        return _BY_CODE["NOAUTH" if error.status_code == "NOAUTH" else "WRONGPASS"]
    if isinstance(error, ResponseError):
        return _judge_reply(error)
    if isinstance(error, TimeoutError | RedisTimeoutError):
        return Verdict(Fault.TIMEOUT, Then.REDIAL, "Redis does not answer")
    if (cause := _find(error, ssl.SSLError)) is not None:
        return Verdict(Fault.REFUSED, Then.REDIAL, _tls_sentence(cause))
    if isinstance(error, RedisError | OSError):
        return Verdict(Fault.LOST, Then.REDIAL, "the connection to Redis was lost")
    return Verdict(Fault.SCRIPT, Then.FAIL, "Redis was asked in a wrong way; the log has the fault")


def _judge_reply(error: ResponseError) -> Verdict:
    text = f"{getattr(error, 'status_code', None) or ''} {error}"
    if found := _CODE.search(text):
        return _BY_CODE[found[1]]
    if "cluster support disabled" in text:
        return Verdict(
            Fault.CLUSTER,
            Then.FAIL,
            "this Redis is no Cluster: name it in state.url instead of state.cluster_nodes",
        )
    if _NO_RIGHTS.search(text):
        return _REFUSED
    if found := _LAYOUT.search(text):
        return Verdict(
            Fault.SCRIPT,
            Then.FAIL,
            f"the state in Redis is of layout {found[1]} with {found[2]} buckets: set "
            "state.buckets so, use the program of that layout, or another state.prefix",
        )
    if isinstance(error, NoScriptError):
        return Verdict(Fault.SCRIPT, Then.WAIT, "Redis keeps forgetting its scripts")
    return Verdict(Fault.SCRIPT, Then.FAIL, "Redis refused a script; the log has the fault")


def _find(error: BaseException | None, kind: type[BaseException]) -> BaseException | None:
    while error is not None and not isinstance(error, kind):
        error = error.__cause__ or error.__context__
    return error


def _tls_sentence(error: BaseException) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code in _NAME_MISMATCHES:
            return (
                "the certificate of Redis names another host: connect by a name that it has, or "
                "set state.tls_check_host_name = false"
            )
        return (
            f"the certificate of Redis is not believed ({error.verify_message}): set "
            "state.tls_ca_file to its authority"
        )
    return "no TLS connection to Redis comes about: look at state.tls_… and at its tls-port"
