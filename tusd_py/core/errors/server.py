"""The server's own limits and faults."""

from tusd_py.core.errors.base import UploadError


class GateRefused(UploadError):
    """A gate said no. Its own status and sentence go to the client."""

    code = "ERR_REFUSED_BY_GATE"

    def __init__(self, *, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class GateFailed(UploadError):
    """A gate gave no answer: neither yes nor no. It will be asked again."""

    code = "ERR_GATE_FAILED"
    retry_after_seconds = 2.0

    def __init__(self) -> None:
        super().__init__("The upload could not be checked just now; try again in a moment.")


class StorageFull(UploadError):
    """Less space is free than the server keeps in reserve."""

    code = "ERR_STORAGE_FULL"

    def __init__(self) -> None:
        super().__init__("The server has no space for more bytes just now; what arrived was kept.")


class StorageFailed(UploadError):
    """The byte store answered with an error; its detail is in the log."""

    code = "ERR_STORAGE_FAILED"
    retry_after_seconds = 2.0

    def __init__(self) -> None:
        super().__init__("The bytes could not be stored just now; ask for the offset and go on.")


class StateUnavailable(UploadError):
    """The state store cannot be asked just now."""

    code = "ERR_STATE_UNAVAILABLE"
    retry_after_seconds = 2.0

    def __init__(self) -> None:
        super().__init__("The state of uploads is out of reach just now; try again in a moment.")


class ServerStopping(UploadError):
    """The server is being stopped; another one, or the next one, goes on."""

    code = "ERR_SERVER_STOPPING"
    retry_after_seconds = 1.0

    def __init__(self) -> None:
        super().__init__("The server is stopping; what arrived was kept, go on in a moment.")


class BodyTooSlow(UploadError):
    """No bytes for too long, or fewer than the minimum rate. What arrived was kept."""

    code = "ERR_BODY_TOO_SLOW"

    def __init__(self) -> None:
        super().__init__("The body came too slowly; what arrived was kept, ask for the offset.")


class ClientGone(UploadError):
    """The client hung up before its request was complete: nobody reads the answer."""

    code = "ERR_CLIENT_GONE"

    def __init__(self) -> None:
        super().__init__("The client hung up before the body was complete; what arrived was kept.")


class TooManyRequests(UploadError):
    """More creations than the client is allowed in this time."""

    code = "ERR_TOO_MANY_REQUESTS"

    def __init__(self, retry_after_seconds: float) -> None:
        super().__init__("Too many uploads were created in a short time; try again later.")
        self.retry_after_seconds = retry_after_seconds


class CreationDelayed(UploadError):
    """The client creates uploads faster than it may, and its turn did not come in time."""

    code = "ERR_CREATION_DELAYED"

    def __init__(self, retry_after_seconds: float) -> None:
        super().__init__("Uploads are created too fast; the turn of this one did not come in time.")
        self.retry_after_seconds = retry_after_seconds


class InternalError(UploadError):
    """A fault of the server's own; the log has it under the request's id."""

    code = "ERR_INTERNAL"

    def __init__(self) -> None:
        super().__init__("The server failed at this request; the fault was logged.")
