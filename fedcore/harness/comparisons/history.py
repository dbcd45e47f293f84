"""The history of a recorded baseline in git: what its strategies measured from commit to commit.

Cells come and go and are redefined, so that a mean over all of them may move without any number
having changed. So each version is also compared with the one before it, on the scenarios and seeds
that both hold.
"""

from __future__ import annotations

import functools
import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fedcore.harness.comparisons.side import ComparisonError, Known

#: Tail accuracies in percent by (scenario, seed), those of clean twins apart from those of cells.
Values = dict[tuple[str, int], float]
_SECONDS = 60
_END = "\x1e"  # of a commit in the log
KINDS = {"clean": "without attack", "poisoned": "under attack"}


class NoHistory(ComparisonError):
    """There is no git, no checkout, or no commit of the file."""


@dataclass
class Version:
    """A baseline at one commit. ``values`` are by kind of `KINDS`, then by strategy."""

    commit: str
    date: str
    subject: str
    file: str
    values: dict[str, dict[str, Values]] = field(default_factory=dict)

    @property
    def strategies(self) -> list[str]:
        """The strategies that it has values of."""
        return list(dict.fromkeys(name for kind in self.values.values() for name in kind))

    def mean(self, kind: str, strategy: str) -> float | None:
        """The mean over all arms and seeds; None without any."""
        found = self.values.get(kind, {}).get(strategy, {})
        return sum(found.values()) / len(found) if found else None

    def moved(self, before: Version | None, kind: str, strategy: str) -> float | None:
        """The mean difference from ``before`` over what both hold; None without anything."""
        now, old = (v.values.get(kind, {}).get(strategy, {}) if v else {} for v in (self, before))
        common = [key for key in now if key in old]
        return sum(now[key] - old[key] for key in common) / len(common) if common else None

    def same_runs(self, before: Version | None, kind: str, strategy: str) -> bool:
        """Whether it has the same scenarios and seeds as ``before``, so that means compare."""
        now, old = (v.values.get(kind, {}).get(strategy, {}) if v else {} for v in (self, before))
        return now.keys() == old.keys()


def history(path: Path) -> list[Version]:
    """The versions of the baseline ``path`` in git, the oldest first, with those not committed.

    Of a folder, all files in it, one version after another, and the file of the same name that
    stood beside it in the old layout. Raises `NoHistory`, and ComparisonError where ``path`` is
    nothing that could have one.
    """
    if not path.exists():
        raise ComparisonError(f"{path} does not exist: name a baseline, or a folder of them")
    folder = path if path.is_dir() else path.parent
    top = Path(_git(folder, "rev-parse", "--show-toplevel"))
    inside = path.resolve().relative_to(top.resolve())
    places = [f":(top){inside.as_posix()}"]
    follow = ["--follow"] if path.is_file() else []
    if path.is_dir():
        places.append(f":(top){inside.as_posix()}.json")
    log = _git(
        folder, "log", *follow, "--name-only", "--diff-filter=AMR", "-z",
        f"--format={_END}%H%x1f%cs%x1f%s", "--", *places,
    )  # fmt: skip
    found = []
    for entry in reversed(log.split(_END)[1:]):  # git cannot both follow and reverse
        head, *files = [part.strip("\n") for part in entry.split("\0")]
        commit, date, subject = head.split("\x1f")
        for file in filter(None, files):
            text = _git(folder, "show", f"{commit}:{file}")
            version = Version(commit, date, subject, Path(file).name)
            if _read(version, text):
                found.append(version)
    if not found:
        raise NoHistory(f"no commit holds {path}")
    return [*found, *_uncommitted(path, folder, inside)]


def _uncommitted(path: Path, folder: Path, inside: Path) -> list[Version]:
    """What lies in the checkout and in no commit, by file."""
    changed = _git(folder, "status", "--porcelain", "-z", "--", f":(top){inside.as_posix()}")
    if not changed:
        return []
    found = []
    for file in [path] if path.is_file() else sorted(path.glob("*.json")):
        version = Version("not committed", "", "", file.name)
        if _read(version, file.read_text(encoding="utf-8", errors="replace")):
            found.append(version)
    return found


def _read(version: Version, text: str) -> bool:
    """Fill ``version`` from the file's ``text`` of any schema; False where that is no baseline."""
    try:
        cells = json.loads(text)["cells"]
        for cell in cells.values():
            _add(version, cell)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False
    return bool(version.values)


def _add(version: Version, cell: Mapping[str, Any]) -> None:
    strategy, own, twin = _keys(json.dumps(cell["scenario"]))
    for kind, key in (("clean", twin), ("poisoned", own)):
        for seed, value in cell["values"].get(kind, {}).items():
            values = version.values.setdefault(kind, {}).setdefault(strategy, {})
            values[key, int(seed)] = float(value)


@functools.lru_cache(4096)
def _keys(scenario: str) -> tuple[str, str, str]:
    """Strategy of a scenario in JSON, and the keys of its own arm and of its clean twin."""
    known = Known.of(json.loads(scenario))
    return (
        str(known.values["strategy"]),
        known.key,
        known.twin.key if not known.clean else known.key,
    )


def before(versions: Sequence[Version], place: int) -> Version | None:
    """What the version at ``place`` is compared with: the last one of its file, else the last."""
    earlier = versions[:place]
    own = [version for version in earlier if version.file == versions[place].file]
    known = own or earlier
    return known[-1] if known else None


def _git(folder: Path, *arguments: str) -> str:
    """What git prints in ``folder``. Raises `NoHistory`."""
    command = ["git", "-C", str(folder), "-c", "core.quotepath=off", *arguments]
    try:
        done = subprocess.run(
            command, capture_output=True, check=True, timeout=_SECONDS, stdin=subprocess.DEVNULL
        )
    except FileNotFoundError as error:
        raise NoHistory("git is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise NoHistory(f"git did not answer within {_SECONDS} s") from error
    except subprocess.CalledProcessError as error:
        lines = error.stderr.decode(errors="replace").strip().splitlines()
        reason = lines[0].removeprefix("fatal: ") if lines else f"git ended with {error.returncode}"
        raise NoHistory(reason) from error
    return done.stdout.decode(errors="replace").rstrip("\n")
