"""Which protocol a request speaks, and what OPTIONS tells of all of them."""

from typing import Final

from tusd_py.protocol import headers as h
from tusd_py.protocol import rufh, tus1
from tusd_py.protocol.answers import Header
from tusd_py.protocol.base import Asked, Terms, Translator
from tusd_py.protocol.either import Either
from tusd_py.protocol.rufh import Rufh
from tusd_py.protocol.rufh_versions import INVERTED, NEWEST, ROWS
from tusd_py.protocol.tus1 import Tus1

QUESTIONS: Final = frozenset({"HEAD", "GET", "DELETE"})


class Translators:
    """All protocols, and the choice between them."""

    def __init__(self, terms: Terms) -> None:
        self.tus = Tus1(terms)
        self.offer: tuple[Header, ...] = (*tus1.build_offer(terms), *rufh.build_offer(terms))
        """What OPTIONS tells."""
        self.either = Either(terms)
        """Of questions that name no protocol."""
        self._rufh = {version: Rufh(terms, row) for version, row in ROWS.items()}

    def choose(self, asked: Asked, *, at_upload: bool) -> Translator:
        """Any sign of tus makes it tus, also one of a version that is not spoken; then any sign
        of the other makes it that. Never raises.

        Without a sign a question is answered to both, and what carries bytes is taken for tus
        without its header, which is refused in its words.
        """
        fields = asked.fields
        if fields.getall(h.TUS_RESUMABLE, []):
            return self.tus
        if _is_rufh(asked, at_upload=at_upload):
            return self._version(fields)
        return self.either if asked.method in QUESTIONS else self.tus

    def _version(self, fields: h.Fields) -> Rufh:
        """The version that is asked for. One that is not known is served as the newest: who asked
        for it is told nothing early, and finds what it knows, or not."""
        asked_for = rufh.version_of(fields)
        if asked_for in self._rufh:
            return self._rufh[asked_for]
        is_inverted = fields.getall(h.UPLOAD_INCOMPLETE, []) and not fields.getall(
            h.UPLOAD_COMPLETE, []
        )
        # Its ?1 says "more to come", which must not be overlooked whatever else is missing.
        return self._rufh[INVERTED.version if is_inverted else NEWEST.version]


def _is_rufh(asked: Asked, *, at_upload: bool) -> bool:
    fields = asked.fields
    names = (h.UPLOAD_COMPLETE, h.UPLOAD_INCOMPLETE, h.UPLOAD_DRAFT_INTEROP_VERSION)
    if any(fields.getall(name, []) for name in names):
        return True
    if asked.method != "PATCH" or not at_upload:
        return False
    types = fields.getall(h.CONTENT_TYPE, [])
    return h.parse_media_type(types[0] if types else None) == h.PARTIAL_UPLOAD
