"""The code blocks of a page: files to write, scripts to run, commands with the output they show.

```` ```python title="acme/attacks.py" ```` is a file, of any language; ```` ```python ```` without
a title is a script, and ```` ```console ```` holds commands behind ``$`` with their output, in
which ``...`` stands for anything. ``status=2`` on the fence is the status that its commands
must end with, 0 where nothing is said.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

_FENCE = re.compile(r"```(?P<info>[^\n`]*)\n(?P<text>.*?)^```[ ]*$", re.DOTALL | re.MULTILINE)
_TITLE = re.compile(r'title="([^"]+)"')
_STATUS = re.compile(r"status=(\d+)")
#: Blocks that are to be read only: what others print, or a fragment of a file.
_READ_ONLY = ("text", "")


@dataclass(frozen=True)
class Command:
    """A command of a page; ``expected`` is what it must print, None where nothing is shown."""

    text: str
    expected: str | None
    status: int
    line: int


@dataclass(frozen=True)
class Block:
    """One code block at ``line``: a file where it has a ``title``, else commands to run."""

    line: int
    title: str | None
    text: str
    commands: tuple[Command, ...] = ()


def blocks(page: Path) -> list[Block]:
    """The code blocks of ``page`` in their order. ValueError for one of an unknown language."""
    source = page.read_text(encoding="utf-8")
    found = []
    for fence in _FENCE.finditer(source):
        line = source.count("\n", 0, fence.start()) + 1
        info, text = fence["info"].strip(), fence["text"]
        language = info.partition(" ")[0]
        title = _TITLE.search(info)
        status = _STATUS.search(info)
        if title is not None:
            found.append(Block(line, title[1], text))
        elif language == "console":
            given = _commands(text, int(status[1]) if status else 0, line)
            found.append(Block(line, None, text, given))
        elif language == "python":
            found.append(Block(line, None, text))
        elif language not in _READ_ONLY:
            raise ValueError(f"{page.name}:{line}: a block of {language!r} that no test would run")
    return found


def write_files(given: Iterable[Block], folder: Path) -> None:
    """Save the files among the blocks in ``folder``."""
    for block in given:
        if block.title is not None:
            place = folder / block.title
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(block.text, encoding="utf-8")


def _commands(text: str, status: int, line: int) -> tuple[Command, ...]:
    found: list[Command] = []
    for number, row in enumerate(text.splitlines(), line + 1):
        if row.startswith("$ "):
            found.append(Command(row[2:], None, status, number))
            continue
        if not found:
            raise ValueError(f"line {number}: output before any command: {row!r}")
        last = found.pop()
        if last.expected is None and last.text.endswith("\\"):
            last = replace(last, text=f"{last.text}\n{row}")
        else:
            last = replace(last, expected=f"{last.expected or ''}{row}\n")
        found.append(last)
    return tuple(found)
