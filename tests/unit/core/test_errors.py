"""Everything a request can be refused for: stable codes, one sentence each, no secrets."""

import inspect
import re
from collections.abc import Callable, Iterator
from typing import Final

import pytest

from tusd_py.core import errors
from tusd_py.core.errors import UploadError
from tusd_py.core.identity import show_token

TOKEN: Final = "eyJhbGciOiJIUzI1NiJ9.eyJ2aWRlb19pZCI6MTd9.c2lnbmF0dXJl"

MADE: Final[dict[type[UploadError], Callable[[], UploadError]]] = {
    errors.InvalidHeader: lambda: errors.InvalidHeader("Upload-Offset", "a non-negative integer"),
    errors.MissingHeader: lambda: errors.MissingHeader("Upload-Offset"),
    errors.InvalidMetadata: lambda: errors.InvalidMetadata("has an empty key in pair 1"),
    errors.LengthMissing: errors.LengthMissing,
    errors.LengthConflict: lambda: errors.LengthConflict(stored=5, requested=7),
    errors.UnsupportedVersion: lambda: errors.UnsupportedVersion("1.0.0"),
    errors.UnsupportedMediaType: lambda: errors.UnsupportedMediaType("application/octet-stream"),
    errors.MethodNotAllowed: lambda: errors.MethodNotAllowed(("GET", "HEAD")),
    errors.UploadFinished: lambda: errors.UploadFinished(5),
    errors.PartUnusable: errors.PartUnusable,
    errors.WholeDigestMismatch: errors.WholeDigestMismatch,
    errors.BytesGone: errors.BytesGone,
    errors.RangeUnsatisfiable: lambda: errors.RangeUnsatisfiable(10),
    errors.PreconditionFailed: errors.PreconditionFailed,
    errors.FormInvalid: lambda: errors.FormInvalid("it has no file"),
    errors.TooManyWatchers: errors.TooManyWatchers,
    errors.ChecksumUnsupported: errors.ChecksumUnsupported,
    errors.ChecksumMismatch: errors.ChecksumMismatch,
    errors.BodyMalformed: errors.BodyMalformed,
    errors.TokenInvalid: lambda: errors.TokenInvalid(show_token(TOKEN)),
    errors.VideoMismatch: lambda: errors.VideoMismatch(token="17", metadata="18"),
    errors.ClientMismatch: lambda: errors.ClientMismatch(token="4", metadata="5"),
    errors.TokenTooNarrow: lambda: errors.TokenTooNarrow("it lacks the scope create"),
    errors.TypeNotAllowed: errors.TypeNotAllowed,
    errors.UploadUnknown: errors.UploadUnknown,
    errors.UploadTooLarge: lambda: errors.UploadTooLarge(max_bytes=100),
    errors.OffsetMismatch: lambda: errors.OffsetMismatch(stored=5, requested=7),
    errors.BodyTooLong: lambda: errors.BodyTooLong(room=5, offset=7),
    errors.UploadIsFinal: errors.UploadIsFinal,
    errors.UploadFinished: lambda: errors.UploadFinished(7),
    errors.PartUnusable: errors.PartUnusable,
    errors.WholeDigestMismatch: errors.WholeDigestMismatch,
    errors.BytesGone: errors.BytesGone,
    errors.RangeUnsatisfiable: lambda: errors.RangeUnsatisfiable(7),
    errors.FormInvalid: lambda: errors.FormInvalid("it has no file"),
    errors.TooManyWatchers: errors.TooManyWatchers,
    errors.UploadLocked: errors.UploadLocked,
    errors.UploadHandedOver: errors.UploadHandedOver,
    errors.LeaseLost: errors.LeaseLost,
    errors.UploadDamaged: errors.UploadDamaged,
    errors.GateRefused: lambda: errors.GateRefused(status=422, sentence="No cats."),
    errors.GateFailed: errors.GateFailed,
    errors.StorageFull: errors.StorageFull,
    errors.StorageFailed: errors.StorageFailed,
    errors.StateUnavailable: errors.StateUnavailable,
    errors.ServerStopping: errors.ServerStopping,
    errors.BodyTooSlow: errors.BodyTooSlow,
    errors.ClientGone: errors.ClientGone,
    errors.TooManyRequests: lambda: errors.TooManyRequests(60.0),
    errors.CreationDelayed: lambda: errors.CreationDelayed(7.5),
    errors.InternalError: errors.InternalError,
    errors.NotFound: errors.NotFound,
    errors.BadRequest: errors.BadRequest,
    errors.MethodUnknown: errors.MethodUnknown,
    errors.HeadersTooLarge: errors.HeadersTooLarge,
    errors.ExpectationFailed: errors.ExpectationFailed,
}
"""One of each, as it is raised."""
PLATFORM_TEXTS: Final = {
    errors.TokenInvalid: r"token invalid \((?:null|.{1,12}…)\)",
    errors.VideoMismatch: r"token video \(17\) does not match this video \(18\)",
    errors.ClientMismatch: r"token client \(4\) does not match this client \(5\)",
}
"""Texts of the original platform, which its clients look for."""


def _below(cls: type[UploadError]) -> Iterator[type[UploadError]]:
    for child in cls.__subclasses__():
        yield child
        yield from _below(child)


def test_every_error_of_the_core_is_made_here() -> None:
    """A class that is added has to be added to this table, and so is looked at."""
    assert set(MADE) == {
        cls for cls in _below(UploadError) if cls.__module__.startswith(errors.__name__)
    }


def test_codes_are_unique_over_all_errors() -> None:
    """Others may refine an error and keep its code; none may take the code of another."""
    codes = [cls.code for cls in _below(UploadError) if "code" in vars(cls)]
    assert len(codes) == len(set(codes))


@pytest.mark.parametrize("cls", MADE, ids=lambda cls: cls.__name__)
def test_an_error_has_a_code_of_its_own_and_says_what_it_is(cls: type[UploadError]) -> None:
    assert re.fullmatch(r"ERR_[A-Z]+(_[A-Z]+)*", vars(cls)["code"])
    assert inspect.getdoc(cls)


@pytest.mark.parametrize("cls", MADE, ids=lambda cls: cls.__name__)
def test_an_error_tells_the_client_one_sentence(cls: type[UploadError]) -> None:
    text = str(MADE[cls]())
    if cls in PLATFORM_TEXTS:
        assert re.fullmatch(PLATFORM_TEXTS[cls], text)
    else:
        assert text[0].isupper() and text.endswith(".") and not text.endswith("..")
    assert "\n" not in text and len(text) <= 120


def test_the_four_refusals_of_the_platform_word_for_word() -> None:
    assert str(errors.TokenInvalid(show_token(None))) == "token invalid (null)"
    assert str(errors.TokenInvalid(show_token(TOKEN))) == "token invalid (eyJhbGciOiJI…)"
    assert (
        str(errors.VideoMismatch(token="17", metadata="18"))
        == "token video (17) does not match this video (18)"
    )
    assert (
        str(errors.ClientMismatch(token="4", metadata="5"))
        == "token client (4) does not match this client (5)"
    )


def test_no_error_takes_a_whole_token() -> None:
    """Nothing that is made of a token holds more of it than may be shown, in text or attributes."""
    error = errors.TokenInvalid(show_token(TOKEN))
    for told in (str(error), repr(error), repr(vars(error)), repr(error.args)):
        assert TOKEN[:13] not in told
    takers = [cls for cls in MADE if "shown" in inspect.signature(cls).parameters]
    assert takers == [errors.TokenInvalid]


def test_the_numbers_that_disagree_are_attributes() -> None:
    mismatch = errors.OffsetMismatch(stored=5, requested=7)
    assert (mismatch.stored, mismatch.requested) == (5, 7)
    conflict = errors.LengthConflict(stored=5, requested=7)
    assert (conflict.stored, conflict.requested) == (5, 7)
    too_long = errors.BodyTooLong(room=5, offset=7)
    assert (too_long.room, too_long.offset) == (5, 7)
    assert errors.UploadTooLarge(max_bytes=100).max_bytes == 100
    assert errors.InvalidHeader("Upload-Offset", "an integer").name == "Upload-Offset"
    assert errors.MissingHeader("Upload-Offset").name == "Upload-Offset"
    assert errors.MethodNotAllowed(("GET",)).allowed == ("GET",)
    assert errors.GateRefused(status=422, sentence="No cats.").status == 422
    assert str(errors.BadRequest("No host was named.")) == "No host was named."


def test_who_may_come_again_is_told_when() -> None:
    told = {cls for cls, make in MADE.items() if make().retry_after_seconds is not None}
    assert told == {
        errors.UploadLocked,
        errors.TooManyWatchers,
        errors.GateFailed,
        errors.StorageFailed,
        errors.StateUnavailable,
        errors.ServerStopping,
        errors.TooManyRequests,
        errors.CreationDelayed,
    }
    assert errors.UploadLocked(3.0).retry_after_seconds == 3.0
    assert errors.TooManyRequests(60.0).retry_after_seconds == 60.0
    assert errors.CreationDelayed(7.5).retry_after_seconds == 7.5
    assert all(m().retry_after_seconds is None or m().retry_after_seconds for m in MADE.values())
