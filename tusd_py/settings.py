"""The base of all settings: frozen, unknown keys refused, values never shown in errors."""

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """One part's settings, in the file of that part. ``compose`` joins them to one tree."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        # A validation error must not print a secret.
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
        validate_default=True,
    )
