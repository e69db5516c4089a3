"""Which client goes through which case, by which of its options.

``TRIALS`` is the one list: ``make interop`` runs all of it, ``make test`` those that are marked
``daily``, and the table for people is made from it. What a client cannot do stands here with the
reason, and its trial shows that it is still so.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from tests.e2e.rig import MIB
from tests.interop import cases as c
from tests.interop.cases import Case, Way
from tests.interop.clients import (
    Client,
    JavaClient,
    NodeClient,
    PageClient,
    RustClient,
    TuspyClient,
)


@dataclass(frozen=True, slots=True)
class Trial:
    """One client in one case."""

    client: Client
    way: Way
    case: Case
    is_daily: bool
    """Part of ``make test``."""

    def __str__(self) -> str:
        return f"{self.client}-{self.way.name}-{self.case.__name__}".replace(" ", "-")


@dataclass(frozen=True, slots=True)
class Cannot:
    """A case that a client fails whatever the server does."""

    why: str
    """For people."""
    says: str
    """Part of the story when it fails."""


PLAIN: Final = Way("plain")
CHUNKED: Final = Way("chunked", {"chunk_size": MIB})
CREATION: Final = Way(
    "creation-with-upload",
    {"chunk_size": MIB, "upload_data_during_creation": True},
    # Cut in the creation itself there is no address yet: it would rightly start anew.
    first_cut=MIB + MIB // 2,
)
DEFERRED: Final = Way(
    "deferred-length",
    # A stream has no fingerprint under which its address could be kept.
    {"chunk_size": MIB, "upload_length_deferred": True, "stream": True, "url_storage": None},
)
OVERRIDE: Final = Way("method-override", {"override_patch_method": True})
REQUEST_ID: Final = Way("request-id", {"add_request_id": True})
BEARER: Final = Way("token-in-header", bearer=True)
PARALLEL: Final = Way("4-parallel-parts", {"parallel_uploads": 4}, bearer=True, uploads=5, lines=4)
DRAFT_03: Final = Way("ietf-draft-03", {"protocol": "ietf-draft-03"}, bearer=True)
DRAFT_05: Final = Way("ietf-draft-05", {"protocol": "ietf-draft-05"}, bearer=True)
EVERY_HEADER: Final = Way(
    "every-header", {"add_request_id": True, "override_patch_method": True}, bearer=True
)
GOLDEN: Final = Way("golden-retriever", {"golden_retriever": True})
# Bytes under a digest count once all of them are there and verified.
CHECKSUM: Final = Way(
    "checksum",
    {"chunk_size": MIB, "upload_checksum": True},
    first_cut=MIB + MIB // 2,
    lost_bytes=MIB,
)
JAVA_CHUNKED: Final = Way("chunked", {"payload": MIB})
RUST_CHUNKED: Final = Way("chunked", {"chunk": MIB})
RUST_OVERRIDE: Final = Way("method-override", {"override": 1})
RUST_TERMINATE: Final = Way("delete", {"terminate": 1})

BREAKS: Final[tuple[Case, ...]] = (c.cut_by_fin, c.cut_by_rst, c.killed, c.stopped)
BASICS: Final[tuple[Case, ...]] = (c.small, c.large, *BREAKS, c.lost_answer, c.another_run)
COMMANDED: Final[tuple[Case, ...]] = (c.pause, c.terminate)
OPTIONAL: Final[tuple[Case, ...]] = (c.small, c.large, *BREAKS)

NODE: Final = {major: NodeClient(major) for major in (2, 3, 4, 5)}
PAGE: Final = {major: PageClient("tus", major) for major in (2, 3, 4, 5)}
UPPY: Final = PageClient("uppy")
TUSPY: Final = TuspyClient(is_async=False)
TUSPY_ASYNC: Final = TuspyClient(is_async=True)
JAVA: Final = JavaClient()
RUST: Final = RustClient()

SILENT: Final = "neither success nor error"
_SILENT_BORDER: Final = Cannot(
    "a stream of unknown length that ends exactly where a chunk ends: it never sends the length, "
    "and waits for ever",
    SILENT,
)
_NOT_AN_ERROR: Final = Cannot(
    "in a browser it retries no network error: it throws something that it does not take for an "
    "error itself. A cut is survived only where Chromium sends the request again by itself",
    "value thrown that is not an error",
)
CANNOT: Final[dict[tuple[Client, str, Case], Cannot]] = {
    (NODE[3], DEFERRED.name, c.exact_border): _SILENT_BORDER,
    (NODE[4], DEFERRED.name, c.exact_border): _SILENT_BORDER,
    (NODE[5], DEFERRED.name, c.exact_border): _SILENT_BORDER,
    (NODE[5], DEFERRED.name, c.lost_answer): Cannot(
        "a stream of unknown length whose last answer was lost: it has forgotten by then that the "
        "length is not known to it",
        "cannot automatically derive upload's size from input",
    ),
    (PAGE[5], PLAIN.name, c.killed): _NOT_AN_ERROR,
    (PAGE[5], PLAIN.name, c.stopped): _NOT_AN_ERROR,
    (RUST, PLAIN.name, c.lost_answer): Cannot(
        "after a lost last answer it does not see that the upload is finished, and reads on behind "
        "the end of the file; the application has to ask (get_info)",
        "Unable to read the specified file",
    ),
}
_STUCK_STREAM: Final = (
    "a stream that is resumed may come to a standstill: the library reads on from it and does not "
    "let go of the request that broke"
)
BY_CHANCE: Final[dict[tuple[Client, str, Case], str]] = {
    (PAGE[5], PLAIN.name, case): _NOT_AN_ERROR.why
    for case in (c.cut_by_fin, c.cut_by_rst, c.lost_answer)
} | {(NODE[2], DEFERRED.name, case): _STUCK_STREAM for case in BREAKS}
"""No trial shows these, for they go one way or the other."""


def _every_trial() -> Iterator[tuple[Client, Way, Iterable[Case]]]:
    for major, client in NODE.items():
        yield client, PLAIN, (*BASICS, *COMMANDED)
        for way in (CHUNKED, CREATION, OVERRIDE, REQUEST_ID, BEARER):
            yield client, way, OPTIONAL
        yield client, DEFERRED, (*OPTIONAL, c.lost_answer, c.exact_border)
        yield client, PARALLEL, (*OPTIONAL, c.another_run, c.pause)
        if major >= 4:
            yield client, DRAFT_03, (*BASICS, *COMMANDED)
            yield client, DRAFT_05, (*BASICS, *COMMANDED)
    for major, page in PAGE.items():
        yield page, PLAIN, (*BASICS, *COMMANDED, c.reload, c.own_suite)
        for way in (EVERY_HEADER, PARALLEL):
            yield page, way, (c.large, c.cut_by_rst) if major < 5 else (c.large,)
        for way in (DRAFT_03, DRAFT_05) if major >= 4 else ():
            yield page, way, (c.large,)
    yield UPPY, PLAIN, (*BASICS, *COMMANDED, c.reload, c.offline)
    yield UPPY, GOLDEN, (c.large, c.restore)
    for way in (CHUNKED, CREATION, EVERY_HEADER, PARALLEL):
        yield UPPY, way, (c.large, c.cut_by_rst)
    for tuspy in (TUSPY, TUSPY_ASYNC):
        yield tuspy, PLAIN, BASICS
        yield tuspy, CHUNKED, (*OPTIONAL, c.another_run)
        yield tuspy, CHECKSUM, OPTIONAL
        yield tuspy, BEARER, (c.large, c.cut_by_rst)
    yield JAVA, PLAIN, BASICS
    yield JAVA, JAVA_CHUNKED, (*OPTIONAL, c.another_run)
    yield JAVA, BEARER, (c.large, c.cut_by_rst)
    yield RUST, PLAIN, BASICS
    yield RUST, RUST_CHUNKED, (*OPTIONAL, c.another_run)
    yield RUST, RUST_OVERRIDE, OPTIONAL
    yield RUST, RUST_TERMINATE, (c.terminate,)


def _is_daily(client: Client, way: Way, case: Case) -> bool:
    """A choice of a minute: both ends of tus-js-client thoroughly, each option and each client
    where it is most likely to break."""
    if client is NODE[2]:
        return way is PLAIN or case is c.large
    if client is NODE[4]:
        if way is PARALLEL:
            return case in (c.cut_by_rst, c.another_run)
        return way is PLAIN or case is (c.large if way in (DRAFT_03, DRAFT_05) else c.cut_by_rst)
    if client in NODE.values():
        if way in (PLAIN, PARALLEL):
            return case in (c.cut_by_rst, c.killed)
        return way in (DRAFT_03, DRAFT_05) and case is c.cut_by_rst
    if client is UPPY:
        return case in (c.reload, c.restore) or (way is PLAIN and case in (c.cut_by_rst, c.killed))
    if isinstance(client, PageClient):
        return way is PLAIN and case is {2: c.cut_by_rst, 4: c.own_suite, 5: c.reload}.get(
            client.major
        )
    if client in (TUSPY, TUSPY_ASYNC):
        thorough = (c.cut_by_rst, c.killed, c.lost_answer, c.another_run)
        return case in thorough if way is PLAIN else case is c.large
    return False


TRIALS: Final = tuple(
    Trial(client, way, case, _is_daily(client, way, case))
    for client, way, cases in _every_trial()
    for case in cases
    if (client, way.name, case) not in BY_CHANCE
)
