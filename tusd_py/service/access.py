"""Who may do what: from the token a request presents to the principal that acts.

A creation binds the upload to the token's video and client. Afterwards, in mode ``creation``, the
unguessable upload URL is the capability; the state store compares owners when it takes the lease.
"""

from tusd_py.auth.base import Authenticator, AuthMode
from tusd_py.core.identity import ANYBODY, TOKEN_KEY, Principal, check_binding, check_type
from tusd_py.core.metadata import Metadata

SCOPE_CREATE = "create"
SCOPE_READ = "read"


class Access:
    """Decides who asks. Nothing has been read or stored when it raises."""

    def __init__(
        self,
        authenticator: Authenticator | None,
        mode: AuthMode,
        refusal_status: int | None = None,
    ) -> None:
        if authenticator is None and mode is not AuthMode.OFF:
            raise ValueError(f"auth mode {mode} needs an authenticator")
        self._authenticator = authenticator
        self.mode = mode
        self.refusal_status = refusal_status
        """The status of the four refusals where it is not the protocol's own."""

    async def for_creation(
        self, bearer: str | None, metadata: Metadata, *, ignores_expiry: bool = False
    ) -> Principal:
        """The principal of a creation. ``ignores_expiry``: of a final upload over parts that were
        sent while the token was valid.

        The token is the ``Authorization`` header's, else the metadata's. Raises TokenInvalid,
        VideoMismatch, ClientMismatch, TokenTooNarrow, TypeNotAllowed, or InvalidMetadata.
        """
        if self._authenticator is None or self.mode is AuthMode.OFF:
            return ANYBODY
        header_token = _stripped(bearer)
        token = header_token or metadata.text(TOKEN_KEY)
        claims = await self._authenticator.read_claims(token, ignore_expiry=ignores_expiry)
        check_binding(claims, metadata, token_in_metadata=header_token is None)
        principal = Principal(claims)
        principal.require_scope(SCOPE_CREATE)
        check_type(claims, metadata)
        return principal

    async def for_upload(self, bearer: str | None, scope: str) -> Principal:
        """The principal of a request for an existing upload; its owner is compared by the state.

        In mode ``creation`` no token is as good as the URL. One that is presented all the same
        must be genuine, but neither its expiry nor its scopes matter: who leaves it away may do
        the same. Raises TokenInvalid, and TokenTooNarrow in mode ``every-request``.
        """
        if self._authenticator is None or self.mode is AuthMode.OFF:
            return ANYBODY
        token = _stripped(bearer)
        if self.mode is AuthMode.CREATION:
            if token is None:
                return ANYBODY
            return Principal(await self._authenticator.read_claims(token, ignore_expiry=True))
        principal = Principal(await self._authenticator.read_claims(token))
        principal.require_scope(scope)
        return principal

    async def for_listing(self, bearer: str | None) -> Principal:
        """The principal of a look at all uploads of one client: a token that names it is needed
        in every mode but ``off``, and it must be valid now, for no address stands in for it.
        Raises TokenInvalid, TokenTooNarrow."""
        if self._authenticator is None or self.mode is AuthMode.OFF:
            return ANYBODY
        principal = Principal(await self._authenticator.read_claims(_stripped(bearer)))
        principal.require_scope(SCOPE_READ)
        return principal


def _stripped(bearer: str | None) -> str | None:
    return (bearer or "").strip() or None
