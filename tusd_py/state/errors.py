"""What a state store raises. Everybody has it from ``base``."""


class StateError(Exception):
    """The state store cannot be asked, or it failed. The cause is chained. Retrying may help."""


class StateFull(StateError):
    """It failed because nothing is free where it lies. Nothing was changed."""


class LeaseGone(Exception):
    """The commit was refused: the lease was let go, ran out, or belongs to somebody else. Nothing
    was changed."""


class RecordUnknown(Exception):
    """There is no record of this upload (there may be facts beside bytes)."""


class OnceTaken(Exception):
    """Another upload of this ``once`` key exists. Nothing was changed."""


class LeaseBusy(Exception):
    """A live holder did not let go within the time to wait, or no lease may be granted yet."""

    def __init__(self, retry_after_seconds: float) -> None:
        super().__init__(f"busy, try again in {retry_after_seconds} s")
        self.retry_after_seconds = retry_after_seconds
