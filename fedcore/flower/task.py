"""What a client is asked to take part in, and the federation that each process makes ready once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import torch
from flwr.app import ConfigRecord, Context, Message

from fedcore.data.loading import data_directory
from fedcore.engine.execution import Execution, choose_device
from fedcore.engine.interface import ENGINES
from fedcore.engine.sequential import SequentialEngine
from fedcore.errors import FedcoreError
from fedcore.exchange.evidence import Row
from fedcore.federation.federation import Federation
from fedcore.outside.text import read_json
from fedcore.privacy.mechanism import Mechanism
from fedcore.privacy.noise import SecureNoise
from fedcore.privacy.run import mechanism_of
from fedcore.records.provenance import code_digest
from fedcore.scenario import Scenario
from fedcore.scenario.text import flags, meant

KEY = "fedcore"
"""Key of the task in a message's ConfigRecord."""


@dataclass(frozen=True)
class Task:
    """A run as every process of a federation must know it.

    ``data`` and ``code`` are the digests of the server's; None: not known yet.
    """

    scenario: Scenario
    seed: int
    precision: str = "float32"
    device: str = "cpu"
    data_dir: str | None = None
    run: str = ""  # sets runs of the same scenario and seed apart where nodes outlive them
    data: str | None = None
    code: str | None = None

    @property
    def execution(self) -> Execution:
        """How each process computes its share."""
        return Execution("sequential", self.device, self.precision)

    def engine(self, federation: Federation) -> SequentialEngine:
        """The engine that trains one client after the other in ``federation``."""
        made = ENGINES["sequential"](federation, self.execution)
        assert isinstance(made, SequentialEngine)  # execution names one process
        return made

    def to_config(self) -> ConfigRecord:
        """The ConfigRecord that goes with every message of the run."""
        scenario = {k: v for k, v in self.scenario.to_dict().items() if v is not None}
        values = {
            "scenario": scenario,
            "seed": self.seed,
            "precision": self.precision,
            "device": self.device,
            "data_dir": self.data_dir,
            "run": self.run,
            "data": self.data,
            "code": self.code,
        }
        return ConfigRecord({KEY: json.dumps(values, sort_keys=True)})

    @classmethod
    def from_json(cls, text: str) -> Task:
        """The inverse of `to_config`. Raises FedcoreError for what is no task."""
        try:
            values = read_json(text)
            scenario = Scenario.from_dict(values.pop("scenario"))
            return cls(scenario=scenario, **values)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise FedcoreError(f"this is no task of fedcore: {error}") from error

    @classmethod
    def from_run_config(cls, values: Mapping[str, Any]) -> Task:
        """The task that a Flower run config describes: keys are fields of Scenario with dashes.

        An empty string stands for None, ``"1-3"`` for a pair. The key ``scenario`` has any further
        fields and parameters as flags, ``--attack "alie(z=1.5)"``, which override the others.
        ``seed``, ``device``, ``precision`` and ``data-dir`` say how to run. Raises ScenarioError,
        or FedcoreError for other values.
        """
        words = {key.replace("-", "_"): value for key, value in values.items() if value != ""}
        chosen = {name: word for name, word in words.items() if name in Scenario.specs()}
        chosen = meant({**chosen, **flags(str(values.get("scenario", "")))})
        return cls(
            scenario=Scenario(**chosen),
            seed=int(values.get("seed", 0)),
            precision=str(values.get("precision", "float32")),
            device=choose_device(str(values.get("device", "auto"))).type,
            data_dir=str(values.get("data-dir", "")) or None,
        )

    @classmethod
    def of(cls, message: Message, context: Context) -> Task:
        """The task of ``message``; from the run config where the message names none."""
        for record in message.content.config_records.values():
            text = record.get(KEY)
            if isinstance(text, str):
                return _parsed(text)
        return cls.from_run_config(context.run_config)


@dataclass(frozen=True)
class Workshop:
    """A federation made ready and the engine that trains in it.

    ``noted`` is what was noted of the clients that trained here, by (round, client).
    """

    federation: Federation
    engine: SequentialEngine
    noted: dict[tuple[int, int], Row] = field(default_factory=dict, compare=False)

    def mechanism(self, secret: bool) -> Mechanism | None:
        """The clients' half of the scenario's mechanism; None where nothing is private.

        Under ``secret`` what it and DP-SGD draw is the operating system's, else the run's streams.
        """
        self.engine.draw_secretly(secret)
        return mechanism_of(self.federation, self.engine, SecureNoise() if secret else None)

    def require_same(self, task: Task) -> None:
        """FedcoreError unless this process has the data and runs the code of ``task``'s server.

        The record, which the server makes, would say that its clients had.
        """
        own = {"data": self.federation.dataset.digest, "code": code_digest()}
        for name, here in own.items():
            there = getattr(task, name)
            if there not in (None, here):
                raise FedcoreError(
                    f"this client has other {name} than the server ({here}, not {there}): install "
                    "the same fedcore and put the same files there, or run again if they changed "
                    "meanwhile"
                )

    @classmethod
    def of(cls, task: Task) -> Workshop:
        """The workshop of ``task``; a process makes one ready and keeps it."""
        place = str(data_directory(task.data_dir))
        key = (task.scenario, task.seed, task.precision, task.device, place)
        if key not in _OPEN:
            device = torch.device(task.device)
            federation = Federation.prepare(task.scenario, task.seed, place, device)
            cls.keep(task, cls(federation, task.engine(federation)))
        return _OPEN[key]

    @classmethod
    def keep(cls, task: Task, workshop: Workshop) -> None:
        """Have this process use ``workshop`` for ``task``, instead of what it had open."""
        place = str(data_directory(task.data_dir))
        _OPEN.clear()  # one at a time: a data set on a device and a model are large
        _OPEN[(task.scenario, task.seed, task.precision, task.device, place)] = workshop


_OPEN: dict[tuple[Any, ...], Workshop] = {}


@lru_cache(maxsize=4)
def _parsed(text: str) -> Task:
    return Task.from_json(text)
