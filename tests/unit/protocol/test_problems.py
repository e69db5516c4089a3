"""Refusals of Resumable Uploads for HTTP."""

import json
from collections.abc import Iterator

import pytest

from tests.unit.protocol.rig import terms
from tusd_py.core import errors as e
from tusd_py.core.errors import UploadError
from tusd_py.protocol.problems import STATUSES, TYPES
from tusd_py.protocol.rufh import Rufh
from tusd_py.protocol.rufh_versions import NEWEST

NEW = Rufh(terms(), NEWEST)


def all_errors(of: type[UploadError] = UploadError) -> Iterator[type[UploadError]]:
    for error in of.__subclasses__():
        if error.__module__.startswith(e.__name__):
            yield error
        yield from all_errors(error)


def test_every_error_has_a_status() -> None:
    assert set(all_errors()) == set(STATUSES.table)
    assert TYPES.keys() <= STATUSES.table.keys()


@pytest.mark.parametrize(
    "error",
    [
        e.UploadLocked(0.2),
        e.StateUnavailable(),
        e.StorageFull(),
        e.TooManyRequests(7.0),
        e.CreationDelayed(7.0),
        e.GateRefused(status=451, sentence="no"),
        e.InternalError(),
        e.UploadUnknown(),
        e.TokenInvalid("null"),
        e.InvalidHeader("Upload-Offset", "absent in HEAD"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("refusal_status", [None, 500])
def test_a_head_is_refused_for_good_or_told_to_come_again(
    error: UploadError, refusal_status: int | None
) -> None:
    answer = NEW.build_error(error, method="HEAD", request_id="r", refusal_status=refusal_status)
    assert answer.status in {400, 401, 403, 404, 405, 423}
    assert answer.status != 423 or int(answer.header("Retry-After") or 0) >= 1
    assert (answer.header("Cache-Control"), answer.header("Upload-Offset")) == ("no-store", None)


def test_a_refusal_has_the_operators_status_where_he_wants_one() -> None:
    answer = NEW.build_error(
        e.TokenInvalid("null"), method="POST", request_id="r", refusal_status=500
    )
    assert (answer.status, json.loads(answer.body)["status"]) == (500, 500)
    usual = NEW.build_error(e.TokenInvalid("null"), method="POST", request_id="r")
    assert (usual.status, usual.header("WWW-Authenticate")) == (401, "Bearer")


def test_a_problem_has_a_title_whatever_its_status() -> None:
    def title(status: int) -> str:
        error = e.GateRefused(status=status, sentence="no \udcff")
        answer = NEW.build_error(error, method="POST", request_id="r")
        return f"{json.loads(answer.body)['title']} {answer.status}"

    assert [title(status) for status in (451, 499, 200)] == [
        "Unavailable For Legal Reasons 451",
        "Refused 499",
        "Forbidden 403",
    ]


def test_what_is_allowed_is_named() -> None:
    answer = NEW.build_error(e.MethodNotAllowed(("HEAD", "PATCH")), method="PUT", request_id="r")
    assert (answer.status, answer.header("Allow")) == (405, "HEAD, PATCH")
