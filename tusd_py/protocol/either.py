"""Questions that name no protocol: answered so that clients of both find what they look for."""

from typing import ClassVar

from tusd_py.core.commands import ReadOffset, Terminate
from tusd_py.core.errors import InvalidHeader, UploadError
from tusd_py.core.ids import UploadId
from tusd_py.core.upload import Upload
from tusd_py.protocol.answers import Answer
from tusd_py.protocol.base import Asked, Terms
from tusd_py.protocol.rufh import Rufh, check_question, digests_of
from tusd_py.protocol.rufh_versions import NEWEST
from tusd_py.protocol.tus1 import Tus1


class Either(Tus1):
    """HEAD, GET and DELETE without a header of either protocol.

    What follows from them is as the upload's own protocol has it; the answers are those of tus,
    200 included, which some of its clients need and every version of the other allows to all but
    the oldest, and the other's headers are added. Creations and appends never get here.
    """

    name: ClassVar[str] = "either"

    def __init__(self, terms: Terms) -> None:
        super().__init__(terms)
        self._rufh = Rufh(terms, NEWEST)

    def check(self, asked: Asked) -> None:
        """There is no version that could be wrong."""

    def parse_read(self, asked: Asked, upload_id: UploadId) -> ReadOffset:
        check_question(asked)
        return ReadOffset(upload_id=upload_id, completion=None)

    def parse_terminate(self, asked: Asked, upload_id: UploadId) -> Terminate:
        check_question(asked)
        return Terminate(upload_id=upload_id)

    def build_offset(self, asked: Asked, upload: Upload) -> Answer:
        answer = super().build_offset(asked, upload)
        rufh = self._rufh
        others = (rufh.completeness_of(upload), *rufh.limits_of(upload), *digests_of(asked, upload))
        return Answer(answer.status, (*answer.headers, *others))

    def build_error(
        self, error: UploadError, *, method: str, request_id: str, refusal_status: int | None = None
    ) -> Answer:
        """Whoever sends what belongs to a transfer speaks no tus."""
        if isinstance(error, InvalidHeader):
            return self._rufh.build_error(error, method=method, request_id=request_id)
        return super().build_error(
            error, method=method, request_id=request_id, refusal_status=refusal_status
        )
