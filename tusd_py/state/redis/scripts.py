"""The Lua scripts: each a file of ``lua/`` that is run for one bucket, or for many in one call.

A file is the body of ``function (B, now)``: ``B`` is the bucket's base key, of which all its keys
begin, ``now`` the server's time in ms; what it returns is the reply for that bucket. It may use
``ARGV``, the helpers of ``prelude.lua`` and those of the parts that the script names. ``ARGV[1]``
(a fresh token) and ``ARGV[2]`` (``lease_ms``) are the link's, the script's own begin with
``ARGV[3]``.
"""

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

_FOLDER: Final = Path(__file__).parent / "lua"

SERVER_NOW_LUA: Final = (
    "(function() local t = redis.call('TIME') return t[1] * 1000 + t[2] / 1000 end)()"
)
"""A Lua expression for the present time in ms: by the server's clock. With fractions: rounded
down, a lease would end a little before its holder thinks it does."""

# Scripts may be asked by servers of 6.2 to say that they replicate what they do, not themselves.
_HEAD: Final = "if redis.replicate_commands then redis.replicate_commands() end\n"
# The HDEL removes nothing. It is there for the error it meets on a server that takes no writes: a
# replica, or a master that was cut off while another one took its place, would else go on telling
# what is not true any more. Last, because Redis refuses nothing to a script that has written.
_LOOP: Final = """
local now, replies = {now}, {{}}
for i = 1, #KEYS do
  local done, reply = pcall(act, KEYS[i], now)
  if not done then
    if reply ~= NEWBUCKET then error(reply, 0) end
    reply = redis.error_reply(NEWBUCKET)
  end
  redis.call('HDEL', KEYS[i] .. ':meta', '')
  if reply == nil then reply = false end
  replies[i] = reply
end
return replies
"""


@dataclass(frozen=True, slots=True)
class Composed:
    """What a server knows a script as."""

    text: str
    sha: str


class Script:
    """One script; made when its module is imported, for it reads its files."""

    def __init__(self, name: str, *, parts: tuple[str, ...] = (), body: str | None = None) -> None:
        """``parts``: further files of ``lua/`` with ``local function``s that the body calls.
        ``body``: its text, where it is no file there."""
        self.name = name
        self._parts = [_read(part) for part in ("prelude", *parts)]
        self._body = _read(name) if body is None else body

    def __repr__(self) -> str:
        return f"<Script {self.name}>"

    def compose(self, *, prefix: str, now_lua: str = SERVER_NOW_LUA) -> Composed:
        """``prefix`` has been checked: it is put into the text."""
        text = "".join(
            (
                _HEAD,
                f"local PREFIX = '{prefix}'\n",
                *self._parts,
                f"local function act(B, now)\n{self._body}\nend\n",
                _LOOP.format(now=now_lua),
            )
        )
        return Composed(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


@cache
def _read(name: str) -> str:
    return (_FOLDER / f"{name}.lua").read_text("utf-8")
