"""Who asks, and may not."""

from tusd_py.core.errors.base import UploadError


class TokenInvalid(UploadError):
    """No token, or one that cannot be trusted."""

    code = "ERR_TOKEN_INVALID"

    def __init__(self, shown: str) -> None:  # its beginning, or "null"
        super().__init__(f"token invalid ({shown})")


class VideoMismatch(UploadError):
    """A token for another video."""

    code = "ERR_TOKEN_VIDEO"

    def __init__(self, *, token: str, metadata: str) -> None:
        super().__init__(f"token video ({token}) does not match this video ({metadata})")


class ClientMismatch(UploadError):
    """A token for another client."""

    code = "ERR_TOKEN_CLIENT"

    def __init__(self, *, token: str, metadata: str) -> None:
        super().__init__(f"token client ({token}) does not match this client ({metadata})")


class TokenTooNarrow(UploadError):
    """A token that is valid and does not allow this: its scope, or ``once`` that is used up."""

    code = "ERR_TOKEN_SCOPE"

    def __init__(self, why: str) -> None:
        super().__init__(f"The token does not allow this: {why}.")


class TypeNotAllowed(UploadError):
    """A file type outside the token's ``allowed_types``."""

    code = "ERR_TYPE_NOT_ALLOWED"

    def __init__(self) -> None:
        super().__init__("The token does not allow files of this type (metadata key filetype).")
