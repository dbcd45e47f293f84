"""What a user asks of a suite on the command line, checked once and shared by all cases."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fedcore.cores import cores
from fedcore.errors import FedcoreError, unknown_name

OPTIONS = pytest.StashKey["Options"]()
PROFILES = ("smoke", "quick", "full", "study")
EXECUTORS = ("processes", "ray")


class OptionError(FedcoreError, ValueError):
    """An option that breaks a rule; pytest exits with status 4."""


@dataclass(frozen=True)
class Options:
    """Options of `pytest benchmark`. ``seeds`` and ``model`` None leave them to the profile.

    ``jobs`` None, which only the executor ray takes, is every CPU of its cluster.
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

    def arms(self) -> list[dict[str, str]]:
        """The strategies asked for, as changes of a scenario; empty where the suite chooses.

        ``mods`` are attached to the clients of those that were written for Flower.
        """
        attached = {"client_mods": self.mods[0] if len(self.mods) == 1 else json.dumps(self.mods)}
        foreign = {"strategy": "flower", **(attached if self.mods else {})}
        return [
            {**foreign, "strategy_spec": name} if ":" in name else {"strategy": name}
            for name in self.strategies
        ]

    @classmethod
    def of(cls, get: Callable[[str], Any]) -> Options:
        """Options from ``get(name)``, as pytest's config.getoption. Raises OptionError."""
        profile = get("profile")
        if profile not in PROFILES:
            raise OptionError(f"--profile: {unknown_name('profile', profile, PROFILES)}")
        for name in ("seeds", "jobs", "image_size"):
            if get(name) is not None and get(name) < 1:
                raise OptionError(f"--{name.replace('_', '-')} must be >= 1, got {get(name)}")
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
            profile=profile,
            seeds=get("seeds"),
            device="cpu" if ray else get("device"),
            engine=get("engine"),
            precision=get("precision"),
            jobs=get("jobs") or (None if ray else cores()),
            results=Path(get("results")),
            fresh=get("fresh"),
            report=Path(get("report")) if get("report") else None,
            executor=get("executor"),
            ray_address=get("ray_address") or None,
            mods=mods,
        )


def add_options(parser: Any) -> None:
    """Declare the options in a group of pytest's help."""
    group = parser.getgroup("fedcore", "fedcore: federated learning under attack")
    declarations: dict[str, dict[str, Any]] = {
        "--dataset": {
            "default": "mnist5k",
            "help": "mnist5k, a MedMNIST set, npz:PATH or folder:PATH",
        },
        "--data-dir": {"help": "data sets, weights (default: $FEDCORE_DATA, else the user cache)"},
        "--model": {"help": "network of every cell (default: the profile's)"},
        "--image-size": {
            "type": int,
            "help": "side in pixels that images are resized to (default: as they are)",
        },
        "--strategy": {
            "action": "append",
            "dest": "strategies",
            "metavar": "NAME",
            "help": "only this strategy: a name, or package.module:Class[:json] of one written for "
            "Flower; may be repeated",
        },
        "--mod": {
            "action": "append",
            "dest": "mods",
            "metavar": "SPEC",
            "help": "a Flower client mod for these, package.module:name[:json]; may be repeated",
        },
        "--profile": {"default": "quick", "help": "smoke, quick (default), full or study"},
        "--seeds": {"type": int, "help": "paired seeds a cell (default: the profile's)"},
        "--device": {
            "default": "auto",
            "choices": ("auto", "cpu", "cuda"),
            "help": "default: auto",
        },
        "--engine": {
            "default": "auto",
            "help": "how runs are computed: see `fedcore list engines`",
        },
        "--precision": {"default": "float32", "help": "float32 (default), float64, bfloat16, tf32"},
        "--jobs": {"type": int, "help": "runs at a time (default: the cores)"},
        "--executor": {
            "default": "processes",
            "choices": EXECUTORS,
            "help": "what makes the runs: processes of this machine (default), or ray",
        },
        "--ray-address": {
            "help": "a running cluster, HOST:PORT or auto (default: one on loopback)"
        },
        "--results": {"default": ".fedcore", "help": "stored runs, last results (.fedcore)"},
        "--fresh": {"action": "store_true", "help": "compute every run, even if it is stored"},
        "--report": {"help": "write report.md, .html, results.csv, .json, .tex to this directory"},
    }
    for name, settings in declarations.items():
        group.addoption(name, **settings)
