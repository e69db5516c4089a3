"""The code blocks of a Markdown document, and what the comment above each says is done with it.

``<!-- test: STORY ACTION ARGUMENT -->`` stands on the line before the block. All blocks of one
story are played in their order, in one directory, by ``stage.Stage``.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

FENCE: Final = re.compile(r"```(\w*)")
COMMENT: Final = re.compile(r"<!-- test: (\S+) (\S+)(?: (.+?))? -->")
LANGUAGES: Final = {
    "run": {"sh"},
    "stopped": {"sh"},
    "serve": {"sh"},
    "make": {"sh"},
    "plan": {"sh"},
    "start": {"sh"},
    "file": {"toml", "python", "js"},
    "page": {"html"},
    "output": {"text", "json", "http"},
    "says": {"text"},
}
"""What a block of each action may be written in."""


class Unmarked(Exception):
    """A code block that no test executes, or that is not what its comment says."""


@dataclass(frozen=True, slots=True)
class Block:
    """One code block."""

    line: int
    language: str
    text: str
    story: str
    action: str
    argument: str

    @property
    def place(self) -> str:
        return f"line {self.line} ({self.story}: {self.action} {self.argument})"


def read_blocks(document: Path) -> list[Block]:
    """All blocks, in order. Raises Unmarked."""
    return parse_blocks(document.read_text())


def parse_blocks(text: str) -> list[Block]:
    """All blocks of a text, in order. Raises Unmarked."""
    lines = text.splitlines()
    blocks: list[Block] = []
    number = 0
    while number < len(lines):
        if lines[number].lstrip().startswith("```"):
            end = next((n for n in range(number + 1, len(lines)) if lines[n].strip() == "```"), 0)
            if not end:
                raise Unmarked(f"line {number + 1}: the block has no end")
            blocks.append(_block(lines, number, end))
            number = end
        number += 1
    return blocks


def _block(lines: list[str], start: int, end: int) -> Block:
    opening = FENCE.fullmatch(lines[start])
    comment = COMMENT.fullmatch(lines[start - 1]) if start else None
    if opening is None or comment is None:
        raise Unmarked(f"line {start + 1}: no comment says how the block is tested")
    story, action, argument = comment[1], comment[2], comment[3] or ""
    if opening[1] not in LANGUAGES.get(action, set()):
        raise Unmarked(f"line {start + 1}: {action} is not for {opening[1] or 'bare'} blocks")
    text = "".join(f"{line}\n" for line in lines[start + 1 : end])
    return Block(start + 1, opening[1], text, story, action, argument)


def stories(blocks: list[Block]) -> dict[str, list[Block]]:
    """The blocks of each story, in order."""
    found: dict[str, list[Block]] = {}
    for block in blocks:
        found.setdefault(block.story, []).append(block)
    return found


def is_like(pattern: str, text: str) -> bool:
    """``text`` is what ``pattern`` shows: ``…`` stands for anything on a line, alone on its line
    for any lines; white space at the ends of lines does not count."""
    return re.fullmatch(_expression(pattern), _tidy(text)) is not None


def is_in(pattern: str, text: str) -> bool:
    """As ``is_like``, for whole lines that stand together anywhere in ``text``."""
    return re.search(rf"(?m)^{_expression(pattern)}$", _tidy(text)) is not None


def _expression(pattern: str) -> str:
    parts = []
    for line in _tidy(pattern).split("\n"):
        if line.strip() == "…":
            parts.append(r"(?:[^\n]*\n)*?")
        else:
            parts.append(r"[^\n]*?".join(map(re.escape, line.split("…"))) + r"\n")
    return re.sub(r"\\n$", r"\\n?", "".join(parts))


def _tidy(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip("\n").splitlines())
