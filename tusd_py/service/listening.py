"""Who is told, while a body still comes, of what was committed."""

from typing import Protocol

from tusd_py.core.upload import Upload


class Listener(Protocol):
    """One request. Both methods are called on the event loop, never wait and never raise."""

    def created(self, upload: Upload) -> bool:
        """The upload exists; nothing of its body was read. True where the client was told its
        address by this: the upload then outlives a connection that is cut."""

    def advanced(self, upload: Upload) -> None:
        """Progress of the running body was committed; the offset may be told."""


class NoListener:
    """Tells nobody."""

    def created(self, upload: Upload) -> bool:
        return False

    def advanced(self, upload: Upload) -> None:
        pass


NO_LISTENER = NoListener()
