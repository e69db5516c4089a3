"""Where a finished file goes: a template filled in with what is known of the upload.

What a client wrote becomes at most one component of a path each: no separator, no control
character, no leading dot, bounded, and never empty.
"""

import string
import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from tusd_py.core.upload import Upload

FIELDS: Final = ("upload_id", "video_id", "client_id", "filename", "stem", "suffix", "created")
MAX_VALUE_BYTES: Final = 120
MAX_COMPONENT_BYTES: Final = 200
"""File systems take 255; the upload's id has to find room besides."""
MAX_SUFFIX_BYTES: Final = 32
MAX_COMPONENTS: Final = 16
MAX_TEMPLATE_CHARS: Final = 1024
RESERVED_CHARS: Final = frozenset('<>:"/\\|?*')
RESERVED_NAMES: Final = frozenset(
    ["con", "prn", "aux", "nul"]
    + [f"{device}{number}" for device in ("com", "lpt") for number in range(1, 10)]
)
"""Device names on Windows, with whatever suffix: files are shared with such machines."""


def validate_template(template: str) -> None:
    """Raises ValueError with a sentence for the operator where it cannot be used."""
    if not template or len(template) > MAX_TEMPLATE_CHARS:
        raise ValueError(f"a destination has 1 to {MAX_TEMPLATE_CHARS} characters")
    components = template.split("/")
    if len(components) > MAX_COMPONENTS:
        raise ValueError(f"a destination has at most {MAX_COMPONENTS} components")
    for component in components:
        _check_component(component)


def build_destination(template: str, upload: Upload) -> str:
    """A relative path with ``/`` between its components, each of them safe. ``template`` was
    validated. What the token says wins over what the client says."""
    values = _values_of(upload)
    return "/".join(
        _safe(_fill(component, values), upload.id, MAX_COMPONENT_BYTES)
        for component in template.split("/")
    )


def _check_component(component: str) -> None:
    if not component:
        raise ValueError("a destination is relative and has no empty component")
    try:
        pieces = list(string.Formatter().parse(component))
    except ValueError as error:
        raise ValueError(f"the destination's {component!r} cannot be read: {error}") from error
    for literal, field, spec, conversion in pieces:
        if field is not None and field not in FIELDS:
            raise ValueError(
                f"the destination does not know {{{field}}}; it knows "
                + ", ".join(f"{{{name}}}" for name in FIELDS)
            )
        if spec or conversion:
            raise ValueError(f"the destination's {{{field}}} takes neither ':' nor '!'")
        if any(_is_unsafe(char) for char in literal):
            raise ValueError(f"the destination's {component!r} has a character unfit for a name")
    fixed = "".join(literal for literal, *_ in pieces)
    if len(fixed.encode("utf-8", "replace")) > MAX_VALUE_BYTES // 2:
        raise ValueError(f"the fixed text of {component!r} is longer than {MAX_VALUE_BYTES // 2}")
    if component.startswith("."):
        raise ValueError("a component of a destination does not start with a dot")


def _values_of(upload: Upload) -> Mapping[str, str]:
    overrides = upload.overrides
    metadata = upload.metadata
    named = overrides.get("filename") or metadata.text("filename") or metadata.text("name") or ""
    filename = clean_filename(named, fallback=upload.id)
    stem, suffix = _split(filename)
    created = datetime.fromtimestamp(upload.created_at, UTC)
    return {
        "upload_id": upload.id,
        "video_id": _owner_value(overrides.get("video_id") or upload.owner.video_id, upload),
        "client_id": _owner_value(overrides.get("client_id") or upload.owner.client_id, upload),
        "filename": filename,
        "stem": stem,
        "suffix": suffix,
        "created": created.strftime("%Y-%m-%d"),
    }


def clean_filename(named: str, *, fallback: str) -> str:
    """The name of a file as a client said it, safe as one component of a path and in a header;
    ``fallback`` where nothing of it can be used."""
    # Clients may send a path (C:\fakepath\clip.mp4): its last part is the name.
    base = named.replace("\\", "/").rstrip("/").rpartition("/")[2]
    return _safe(base, fallback, MAX_VALUE_BYTES)


def _owner_value(text: str, upload: Upload) -> str:
    return _safe(text, upload.id, MAX_VALUE_BYTES)


def _fill(component: str, values: Mapping[str, str]) -> str:
    return "".join(
        literal + (values[field] if field is not None else "")
        for literal, field, _, _ in string.Formatter().parse(component)
    )


def _safe(text: str, fallback: str, max_bytes: int) -> str:
    """One component of a path: ``text`` as far as it can be had."""
    text = unicodedata.normalize("NFC", text)
    text = "".join("_" if _is_unsafe(char) else char for char in text)
    text = _cut(text.lstrip(". ").rstrip(". "), max_bytes).rstrip(". ")
    if text.partition(".")[0].rstrip().lower() in RESERVED_NAMES:
        text = f"_{text}"
    return text or fallback


def _is_unsafe(char: str) -> bool:
    # Controls, invisible formats (bidi overrides), surrogates, line and paragraph separators.
    return char in RESERVED_CHARS or unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp")


def _split(name: str) -> tuple[str, str]:
    """Stem and suffix (with its dot); no suffix where it is longer than any real one."""
    stem, dot, suffix = name.rpartition(".")
    if not stem or not suffix or len(suffix.encode()) >= MAX_SUFFIX_BYTES:
        return name, ""
    return stem, dot + suffix


def _cut(name: str, max_bytes: int) -> str:
    """The name with at most so many bytes of UTF-8, cut at a character, its suffix kept."""
    if len(name.encode()) <= max_bytes:
        return name
    stem, suffix = _split(name)
    kept = stem.encode()[: max_bytes - len(suffix.encode())]
    return kept.decode("utf-8", "ignore").rstrip(". ") + suffix
