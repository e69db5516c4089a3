"""What the interop versions of Resumable Uploads for HTTP differ in: one row each, nothing else.

The drafts number their breaking changes (``Upload-Draft-Interop-Version``); a phone speaks the one
it was built with for years. What all of them allow is not here but in ``rufh.py``: HEAD is answered
204, a creation and what completes an upload 201, and every answer tells offset and completeness.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tusd_py.protocol import headers as h


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One interop version."""

    version: int
    completion_field: str = h.UPLOAD_COMPLETE
    is_inverted: bool = False
    """``?1`` means that more is to come."""
    unsaid_end_is_one: bool = False
    """An append that does not say whether it is the last one is the last one. The texts between
    say only when it must be said, and their examples contradict their clients: 400 there."""
    length_completes: bool = False
    """All bytes of a length that was declared complete an upload, also by a request that says more
    is to come: tus-js-client 4 says so of the last request of an upload that it resumed, tells its
    user that all is well, and never comes back. It speaks these versions and no other."""
    needs_media_type: bool = False
    """An append is ``application/partial-upload``. Before, clients sent the file's type or none."""
    has_progress: bool = True
    """Interim answers tell offsets while a body comes."""
    age_key: str | None = "max-age"
    """The key of ``Upload-Limit`` for the time that is left; None: there is no such field."""
    part_status: int = 201
    """What an append that succeeds and does not complete is answered with."""
    length_is_no_question: bool = False
    """HEAD and DELETE with ``Upload-Length`` are refused."""
    refuses_finished: bool = False
    """An append to a complete upload is an error, also one that would change nothing."""


ROWS: Final[Mapping[int, Row]] = {
    row.version: row
    for row in (
        Row(  # draft -01; iOS 17
            version=3,
            completion_field=h.UPLOAD_INCOMPLETE,
            is_inverted=True,
            unsaid_end_is_one=True,
            has_progress=False,
            age_key=None,
        ),
        Row(version=4, has_progress=False, age_key=None),  # -02
        Row(  # -03; iOS 18.0, tus-js-client's ietf-draft-03
            version=5,
            length_completes=True,
            age_key=None,
        ),
        Row(  # -04 and -05; iOS 18.1, tus-js-client's ietf-draft-05
            version=6,
            length_completes=True,
            needs_media_type=True,
            age_key="expires",
            length_is_no_question=True,
            refuses_finished=True,
        ),
        Row(  # -06 to -08
            version=7,
            needs_media_type=True,
            part_status=204,
            refuses_finished=True,
        ),
        Row(version=8, needs_media_type=True, part_status=204),  # -09 to -12; iOS 26
    )
}
NEWEST: Final = ROWS[max(ROWS)]
"""Also for requests that name no version, as the RFC's will, and for those that name another."""
INVERTED: Final = next(row for row in ROWS.values() if row.is_inverted)
"""The one version that has ``Upload-Incomplete``: who sends it speaks this one."""
