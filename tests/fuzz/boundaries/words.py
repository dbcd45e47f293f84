"""What is typed: written components, fields of a scenario, options of the suite, paths."""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from fedcore.cache_folder import user_cache
from fedcore.cli import _parser
from fedcore.cli.run_command import _checked
from fedcore.components.registry import REGISTRIES
from fedcore.components.written import component
from fedcore.data.loading import data_directory, load
from fedcore.errors import FedcoreError
from fedcore.harness.plugin.options import DECLARATIONS
from fedcore.harness.suite.options import Options
from fedcore.models.weights import weights_file
from fedcore.outside.paths import expanded
from fedcore.scenario import Scenario
from fedcore.scenario.text import flags
from tests.fuzz.mutate import ODD_NUMBERS, ODD_TEXTS, odd_value

MODULES = {
    "fuzz_raises": "raise ValueError('no')\n",
    "fuzz_exits": "import sys\nsys.exit(3)\n",
    "fuzz_base": "class E(BaseException): pass\nraise E('x')\n",
    "fuzz_answers": "def __getattr__(name): raise SystemExit(name)\n",
    "fuzz_syntax": "def (\n",
    "fuzz_null": "a\0b\n",
    "fuzz_text": "class E(Exception):\n    def __str__(self): raise RuntimeError\nraise E\n",
    "fuzz_deep": "x = " + "(" * 150 + ")" * 150 + "\n",
    "fuzz_liar": "class M(type):\n    def __getattribute__(self, n): raise SystemExit(9)\n"
    "class C(metaclass=M): pass\n",
}
_PLACES = (
    "sys:exit", "os:system", "os:abort", "builtins:exit", "builtins:open", "subprocess:Popen",
    "torch:nn", "no.such:Thing", "a..b:C", ":", "a:", ":b", "os:no", "__main__:x", "fuzz_liar:C",
    *(f"{name}:C" for name in MODULES),
)  # fmt: skip
_KINDS = ("attack", "strategy", "partition", "model", "dataset", "optimizer", "privacy")


def prepare() -> None:
    """Import what fedcore registers, and make the parser."""
    for kind in _KINDS:
        _parameters(kind)
    _command().parse_known_args(["run"])


def components(rng: random.Random, folder: Path) -> None:
    with _importable(folder):
        kind = rng.choice(_KINDS)
        component(kind, _written(rng, kind, 0))


def _written(rng: random.Random, kind: str, depth: int) -> str:
    if rng.random() < 0.1:
        return rng.choice((*ODD_TEXTS, *_PLACES))
    name = rng.choice((*_names(kind), *_PLACES)) if rng.random() < 0.9 else "x"
    if rng.random() < 0.3:
        return name
    words = []
    for _ in range(rng.choice((1, 1, 2, 30 if depth == 0 else 1))):
        key = rng.choice(_parameters(kind))
        value = rng.choice((*ODD_NUMBERS, *ODD_TEXTS, "0.5", "3", "(1, 2)"))
        if depth < 25 and rng.random() < (0.1 if depth == 0 else 0.6):
            value = _written(rng, kind, depth + 1)
        words.append(f"{key}={value}")
    text = f"{name}({', '.join(words)})"
    return text if rng.random() < 0.9 else text[: rng.randrange(len(text))]


def fields(rng: random.Random, folder: Path) -> None:
    """Scenarios from values, words and flags, and the words of ``fedcore run``."""
    names = list(Scenario.specs())
    chosen = rng.sample(names, rng.choice((1, 1, 2, 3)))
    match rng.randrange(3):
        case 0:
            Scenario(**{name: odd_value(rng) for name in chosen})
        case 1:
            words = [f"--{name.replace('_', '-')} {_word(rng)}" for name in chosen]
            flags(" ".join(words))
        case _:
            line = ["run"]
            for name in (*chosen, *rng.sample(("seed", "cohort_size", "processes"), 1)):
                line.append(f"--{name.replace('_', '-')}={_word(rng)}")
            with contextlib.suppress(SystemExit), _quiet():
                options, _ = _command().parse_known_args(line)
                _checked(options)


def options(rng: random.Random, folder: Path) -> None:
    """Options of the suite, as pytest hands them over: integers are integers there."""
    values: dict[str, Any] = {
        str(settings.get("dest", name.replace("-", "_"))): settings.get("default")
        for name, settings in DECLARATIONS.items()
    }
    numbers = (0, -1, 1, 2, 10**4, 10**9, 10**30)
    for name in rng.sample(("seeds", "jobs", "image_size"), 1):
        values[name] = rng.choice((*numbers, *range(8, 30)))
    for name in rng.sample(("rounds", "alpha", "lr", "num_clients", "local_epochs"), 2):
        if rng.random() < 0.5:
            values[name] = _word(rng)
    if rng.random() < 0.3:
        values["hours"] = rng.choice((0.0, -1.0, float("nan"), float("inf"), 1e300, 5.0))
    for name in rng.sample(("report", "thresholds", "results", "profile"), 1):
        if rng.random() < 0.5:
            values[name] = _word(rng)
    Options.of(values.__getitem__)


def paths(rng: random.Random, folder: Path) -> None:
    """Paths of data and weights in environments without a home."""
    environment = {"PATH": os.environ["PATH"], "TORCH_HOME": str(folder)}
    places = ("", "/nonexistent", str(folder), "/dev/null", "\x7f", "relative", "~", "/dev/null/x")
    for name in ("HOME", "XDG_CACHE_HOME", "FEDCORE_DATA", "TMPDIR"):
        if rng.random() < 0.7:
            environment[name] = rng.choice(places)
    word = rng.choice(
        (*ODD_TEXTS, "~/x", "~root/x", "~nobodyatall/x", str(folder / "a"), "/dev/zero", "/dev/tty",
         "/proc/self/mem", "/proc/self/fd/0", "/" + "a/" * 3000, "b" * 300, os.fsdecode(b"\xff"))
    )  # fmt: skip
    with mock.patch.dict(os.environ, environment, clear=True):
        match rng.randrange(5):
            case 0:
                expanded(word)
            case 1:
                data_directory(word)
            case 2:
                load(rng.choice(("npz:", "folder:")) + word)
            case 3:
                weights_file(word or "x", "cnn", folder)
            case _:
                with contextlib.suppress(FileNotFoundError):
                    user_cache()


def _word(rng: random.Random) -> str:
    return rng.choice((*ODD_NUMBERS, *ODD_TEXTS, "0.5", "3", "1-3", "krum", "mnist5k"))


@functools.cache
def _names(kind: str) -> tuple[str, ...]:
    return tuple(name for name in REGISTRIES[kind] if ":" not in name)


@functools.cache
def _parameters(kind: str) -> tuple[str, ...]:
    names = {p for name in _names(kind) for p in REGISTRIES[kind].entry(name).part.specs()}
    return ("x", "of", *sorted(names))


@functools.cache
def _command() -> argparse.ArgumentParser:
    return _parser()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with open(os.devnull, "w") as null, contextlib.redirect_stderr(null):
        yield


@contextlib.contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Within it `MODULES` can be imported, until then by nobody."""
    place = folder.parent / "modules"
    if not place.is_dir():
        place.mkdir()
        for name, text in MODULES.items():
            (place / f"{name}.py").write_text(text)
    sys.path.append(str(place))
    try:
        yield
    except FedcoreError as error:
        error.__traceback__ = None  # frames of modules that are gone
        raise
    finally:
        sys.path.remove(str(place))
        for name in MODULES:
            sys.modules.pop(name, None)
