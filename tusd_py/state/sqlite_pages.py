"""Pages of uploads, by id: what is wanted decides by which index they are found."""

from typing import Any, Final

from tusd_py.core.ids import UploadId
from tusd_py.state.base import Filter
from tusd_py.state.sqlite_leases import SELECT_UPLOAD
from tusd_py.state.sqlite_rows import text_value

# Said, not left to SQLite: it holds all of these for equally good, and by status alone the page of
# a client with three uploads would go through everybody's.
_INDEXES: Final = (
    (("client_id", "video_id"), "INDEXED BY upload_owner"),
    (("video_id",), "INDEXED BY upload_video"),
    (("client_id",), "INDEXED BY upload_client"),
    (("status",), "INDEXED BY upload_status"),
    ((), ""),
)
"""The first one all of whose columns are wanted; each goes on by id, as pages do."""


def page_query(
    wanted: Filter, *, after: UploadId | None, limit: int
) -> tuple[str, dict[str, object]]:
    """A statement whose rows begin with COLUMNS, and its values."""
    values: dict[str, object] = {"after": after or "", "limit": limit}
    conditions = ""
    for column in ("video_id", "client_id", "status"):
        value: Any = getattr(wanted, column)
        if value is not None:
            conditions += f" AND u.{column} = :{column}"
            values[column] = text_value(str(value))
    index = next(index for columns, index in _INDEXES if values.keys() >= set(columns))
    sql = f"{SELECT_UPLOAD} {index} WHERE u.id > :after{conditions} ORDER BY u.id LIMIT :limit"
    return sql, values
