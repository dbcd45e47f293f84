"""The package that the pages of docs/extend show, as a project on disk that is installed."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.docs.newcomer import ROOT, Newcomer
from tests.docs.pages import blocks, write_files

EXTEND = ROOT / "docs" / "extend"
_STORE = re.compile(r"^(\d+) runs from the store, (\d+) made", re.MULTILINE)


def write_acme(folder: Path) -> None:
    """Write the files of all pages that belong to the package, and its suite."""
    for page in sorted(EXTEND.glob("*.md")):
        given = blocks(page)
        write_files(
            [b for b in given if b.title and ("/" in b.title or b.title == "pyproject.toml")],
            folder,
        )


@dataclass(frozen=True)
class Session:
    """What a session of pytest printed and left: ``cells`` by id, from results.json."""

    status: int
    text: str
    cells: Mapping[str, Any]

    @property
    def numbers(self) -> dict[str, Any]:
        """The measured values of each cell."""
        return {name: cell["values"] for name, cell in self.cells.items()}

    @property
    def runs(self) -> tuple[int, int]:
        """How many runs came from the store, and how many were made."""
        (found,) = _STORE.findall(self.text)
        return int(found[0]), int(found[1])


@dataclass(frozen=True)
class Acme:
    """The project in ``folder``, installed in the environment of ``newcomer``."""

    folder: Path
    newcomer: Newcomer

    def install(self) -> None:
        """Build its wheel and install that, in place of an older one."""
        self.newcomer.install(self.folder)

    def pytest(self, *arguments: str, results: str = ".fedcore") -> Session:
        """Run ``pytest`` in the project's own folder."""
        command = ["pytest", f"--fedcore-results={results}", "-p", "no:cacheprovider", *arguments]
        done = self.newcomer.run(command, self.folder)
        return Session(done.returncode, done.stdout, self._cells(results))

    def fedcore(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run ``fedcore`` in the project's own folder."""
        return self.newcomer.run(["fedcore", *arguments], self.folder)

    def records(self, results: str = ".fedcore") -> list[Any]:
        """The records in the store, as JSON."""
        places = sorted((self.folder / results / "records").rglob("*.json"))
        return [json.loads(place.read_text()) for place in places]

    def edit(self, file: str, old: str, new: str) -> None:
        """Replace ``old``, which must stand there once."""
        place = self.folder / file
        text = place.read_text()
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {file}"
        place.write_text(text.replace(old, new))

    def _cells(self, results: str) -> dict[str, Any]:
        place = self.folder / results / "results.json"
        if not place.is_file():
            return {}
        return {cell["id"]: cell for cell in json.loads(place.read_text())["cells"]}


def installed_acme(folder: Path, wheel: Path) -> Acme:
    """The project in a folder and an environment of its own beside the ``wheel`` of fedcore."""
    acme = Acme(folder / "acme-fl", Newcomer(folder, wheel))
    acme.folder.mkdir()
    write_acme(acme.folder)
    acme.install()
    return acme
