"""What a user asks of a suite on the command line, checked once and shared by all cases."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fedcore.cores import cores
from fedcore.errors import FedcoreError, unknown_name
from fedcore.lifeline import LONGEST_TIMEOUT, WORKER_TIMEOUT
from fedcore.outside.limits import HOURS, IMAGE_SIDE, JOBS, SEEDS
from fedcore.outside.paths import expanded

PROFILES = ("smoke", "quick", "full", "study")
EXECUTORS = ("processes", "ray")
#: Verdicts that skip a cell unless --fail-on names them, by the word on the command line.
SKIPPING = {"unsure": "unsure", "no-limit": "no limit"}
#: Fields of a scenario that the command line may set for all cells of a suite.
SETTINGS = (
    "num_clients",
    "fraction_train",
    "rounds",
    "alpha",
    "malicious_fraction",
    "malicious_set",
    "poison_ratio",
    "local_epochs",
    "batch_size",
    "optimizer",
    "lr",
)
#: The largest value of each option that is a count.
_MOST = {"seeds": SEEDS, "jobs": JOBS, "image_size": IMAGE_SIDE}
#: What each of them is, for the help.
MEANINGS = {
    "num_clients": "clients in all",
    "fraction_train": "share of the clients in a round's cohort",
    "rounds": "communication rounds",
    "alpha": "Dirichlet concentration, where the partition is of that kind",
    "malicious_fraction": "share of malicious clients of attacked cells",
    "malicious_set": "how these are drawn: balanced by their samples",
    "poison_ratio": "share of their samples that is poisoned",
    "local_epochs": "epochs a round: N or LOW-HIGH",
    "batch_size": "samples a step",
    "optimizer": "local solver, in place of the tuned one",
    "lr": "local learning rate, in place of the tuned one",
}


class OptionError(FedcoreError, ValueError):
    """An option that breaks a rule; pytest exits with status 4."""


@dataclass(frozen=True)
class Options:
    """Options of `pytest benchmark`. ``seeds`` and ``model`` None leave them to the profile.

    ``strategies`` and ``attacks`` are the only ones where given, ``preaggregation`` is in front of
    each strategy. After ``hours`` no run is waited for; a worker that gives no sign of life for
    ``worker_timeout`` seconds is ended. ``jobs`` None, which only the executor ray takes, is every
    CPU of its cluster. ``fail_on`` are verdicts that fail though they skip
    otherwise; ``settings`` the fields of `SETTINGS` that were given. ``thresholds`` None leaves the
    limits to the suite. ``notes`` take what a suite has to say of how it fitted its cells to the
    data.
    """

    dataset: str = "mnist5k"
    data_dir: str | None = None
    model: str | None = None
    image_size: int | None = None
    strategies: tuple[str, ...] = ()
    profile: str = "quick"
    seeds: int | None = None
    device: str = "auto"
    engine: str = "auto"
    precision: str = "float32"
    jobs: int | None = 1
    results: Path = Path(".fedcore")
    fresh: bool = False
    report: Path | None = None
    executor: str = "processes"
    ray_address: str | None = None
    mods: tuple[str, ...] = ()
    fail_on: tuple[str, ...] = ()
    settings: tuple[tuple[str, Any], ...] = ()
    thresholds: Path | None = None
    attacks: tuple[str, ...] = ()
    requirements: tuple[str, ...] = ()
    preaggregation: str | None = None
    hours: float | None = None
    worker_timeout: float = WORKER_TIMEOUT
    notes: list[str] = field(default_factory=list, compare=False, repr=False)

    @property
    def overrides(self) -> dict[str, Any]:
        """The fields of a scenario that the user sets for all cells, such as ``rounds``."""
        return dict(self.settings)

    def note(self, line: str) -> None:
        """Keep ``line`` for the summary, once."""
        if line not in self.notes:
            self.notes.append(line)

    @property
    def own_cells(self) -> bool:
        """Whether the cells are the suite's own: those that were recorded."""
        return not self.naming_option and not self.settings

    @property
    def naming_option(self) -> str | None:
        """The first option that names what to put through the suite; None where it chooses."""
        given = {
            "--strategy": self.strategies,
            "--attack": self.attacks,
            "--preaggregation": self.preaggregation,
        }
        return next((name for name, value in given.items() if value), None)

    def arms(self, suites: Sequence[Mapping[str, Any]] = ()) -> list[dict[str, Any]]:
        """The strategies asked for, else the ``suites``, as changes of a scenario.

        ``mods`` are attached to the clients of those that were written for Flower; a name with a
        colon is one of those, unless it leads to a strategy of fedcore's kind.
        """
        attached = {"client_mods": self.mods[0] if len(self.mods) == 1 else json.dumps(self.mods)}
        foreign = {"strategy": "flower", **(attached if self.mods else {})}
        chain = {} if self.preaggregation is None else {"preaggregation": self.preaggregation}
        named: list[dict[str, Any]] = [
            {**foreign, "strategy_spec": name} if _of_flower(name) else {"strategy": name}
            for name in self.strategies
        ]
        return [{**arm, **chain} for arm in named or suites]

    def attacked(self, suites: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """The attacks asked for, else the ``suites``, as changes of a scenario."""
        return [{"attack": name} for name in self.attacks] or [dict(arm) for arm in suites]

    @classmethod
    def of(cls, get: Callable[[str], Any]) -> Options:
        """Options from ``get(name)``, as pytest's config.getoption. Raises OptionError."""
        profile = get("profile")
        if profile not in PROFILES:
            raise OptionError(f"--profile: {unknown_name('profile', profile, PROFILES)}")
        for name, most in _MOST.items():
            if get(name) is not None and not 1 <= get(name) <= most:
                rule = ">= 1" if get(name) < 1 else f"<= {most}"
                raise OptionError(f"--{name.replace('_', '-')} must be {rule}, got {get(name)}")
        if get("hours") is not None and not 0 < get("hours") <= HOURS:
            rule = f"<= {HOURS:g}" if get("hours") > HOURS else "> 0"
            raise OptionError(f"--hours must be {rule}, got {get('hours')}")
        timeout = get("worker_timeout")
        if not 0 < timeout <= LONGEST_TIMEOUT:
            raise OptionError(
                f"--worker-timeout must be above 0 and at most {LONGEST_TIMEOUT:.0f} seconds, "
                f"got {timeout}"
            )
        ray = get("executor") == "ray"
        if get("ray_address") and not ray:
            raise OptionError("--ray-address is for --executor ray: add that, or leave it out")
        if ray and get("device") == "cuda":
            raise OptionError("--executor ray computes on CPUs: leave --device out")
        if ray and get("engine") == "flower-ray":
            raise OptionError("--engine flower-ray brings a Ray of its own: leave --executor out")
        mods, strategies = tuple(get("mods") or ()), tuple(get("strategies") or ())
        if mods and not any(":" in name for name in strategies):
            raise OptionError(
                "--mod attaches to clients of a strategy written for Flower: add --strategy "
                f"package.module:Class, such as flwr.serverapp.strategy:FedAvg; got --mod {mods[0]}"
            )
        return cls(
            dataset=get("dataset"),
            data_dir=get("data_dir"),
            model=get("model"),
            image_size=get("image_size"),
            strategies=strategies,
            attacks=tuple(get("attacks") or ()),
            requirements=tuple(get("requirements") or ()),
            preaggregation=get("preaggregation") or None,
            hours=get("hours"),
            worker_timeout=timeout,
            profile=profile,
            seeds=get("seeds"),
            device="cpu" if ray else get("device"),
            engine=get("engine"),
            precision=get("precision"),
            jobs=get("jobs") or (None if ray else cores()),
            results=expanded(get("results")),
            fresh=get("fresh"),
            report=expanded(get("report")) if get("report") else None,
            executor=get("executor"),
            ray_address=get("ray_address") or None,
            mods=mods,
            fail_on=_verdicts(get("fail_on") or ()),
            settings=_settings(get),
            thresholds=expanded(get("thresholds")) if get("thresholds") else None,
        )


def _of_flower(name: str) -> bool:
    """Whether ``name`` is package.module:Class[:json] of a strategy written for Flower."""
    if ":" not in name:
        return False
    from fedcore.components.written import choice

    return choice("strategy", name).cls is None


def _verdicts(words: Sequence[str]) -> tuple[str, ...]:
    """The verdicts that --fail-on names, each once; words may be lists with commas."""
    named = [word.strip() for some in words for word in some.split(",")]
    for word in named:
        if word not in SKIPPING:
            raise OptionError(f"--fail-on: {unknown_name('verdict', word, SKIPPING)}")
    return tuple(dict.fromkeys(SKIPPING[word] for word in named))


def _settings(get: Callable[[str], Any]) -> tuple[tuple[str, Any], ...]:
    """The scenario fields that were given, in their types. Raises OptionError."""
    words = {name: word for name in SETTINGS if (word := get(name)) is not None}
    if not words:
        return ()
    from fedcore.scenario import Scenario
    from fedcore.scenario.text import flag

    found, problems = [], []
    for name, word in words.items():
        spec = Scenario.specs()[name]
        value = spec.coerce(spec.read(word))
        problems += [text.replace(name, flag(name), 1) for text in spec.problems(name, value)]
        found.append((name, value))
    if problems:
        raise OptionError("; ".join(problems))
    return tuple(found)
