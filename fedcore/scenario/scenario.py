"""Scenario: everything that defines an experiment but the seed. The only such definition.

Test id, store key, table row and command-line flags all derive from it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from fedcore.components.parameters import Spec, flag, number, text
from fedcore.errors import ScenarioError
from fedcore.scenario import naming, validation


def round_half_up(value: float) -> int:
    """Rounding of every count that is a fraction of something: 2.5 -> 3, whatever the parity."""
    return math.floor(value + 0.5 + 1e-9)  # 1e-9: 0.3 * 5 must count as 1.5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scenario:
    """One experiment. Validated at construction: `ScenarioError` lists every problem at once.

    A field whose default is None is a parameter of the named components (partition, attack,
    optimizer, strategy, model): None takes the component's default, and a value that no chosen
    component reads is refused.
    """

    # data
    dataset: str = text("mnist5k", "mnist5k, a 2-D MedMNIST set, npz:PATH or folder:PATH")
    image_size: int | None = number(None, int, "side in pixels; None keeps the native one", low=8)
    grayscale: bool = flag(False, "turn colours to grey, repeated on 3 channels")
    normalize: str = text(
        "half", "subtract mean, divide by deviation", choices=("half", "imagenet")
    )
    # model
    model: str = text("cnn", "network architecture")
    norm: str | None = text(None, "normalisation layers", choices=("none", "batch", "group"))
    weights: str | None = text(None, "'imagenet' or a file of pretrained weights; None: random")
    # partition
    partition: str = text("iid", "how samples are dealt to clients")
    alpha: float | None = number(None, float, "Dirichlet concentration", low=0, open_low=True)
    classes_per_client: int | None = number(None, int, "classes that a client holds", low=1)
    class_assignment: str | None = text(
        None, "who holds what", choices=("random", "deterministic", "first-deterministic")
    )
    min_partition_size: int | None = number(None, int, "redraw below this many samples", low=0)
    self_balancing: bool | None = flag(None, "stop filling clients above the mean size")
    partition_seed: int | None = number(None, int, "fixed partition; None: by the run", low=0)
    allow_incomplete: bool = flag(False, "accept empty clients and dropped classes")
    # federation
    num_clients: int = number(20, int, "clients in all", low=1)
    fraction_train: float = number(
        0.5, float, "share of the clients in a round's cohort", low=0, high=1, open_low=True
    )
    rounds: int = number(15, int, "communication rounds", low=1)
    eval_every: int = number(1, int, "rounds between evaluations; the last is always one", low=1)
    validation_fraction: float = number(
        0.0,
        float,
        "share of a client's samples held out of training",
        low=0,
        high=1,
        open_high=True,
    )
    # local work
    optimizer: str = text("momentum", "local solver")
    lr: float = number(0.05, float, "local learning rate", low=0, open_low=True)
    momentum: float | None = number(None, float, "momentum", low=0, high=1, open_high=True)
    dampening: float | None = number(None, float, "momentum's dampening", low=0, high=1)
    nesterov: bool | None = flag(None, "Nesterov momentum")
    mu: float | None = number(None, float, "proximal coefficient", low=0, open_low=True)
    weight_decay: float = number(0.0, float, "L2 penalty, added to the gradient", low=0)
    local_epochs: int | tuple[int, int] = number(
        1, int, "epochs a round, or (lowest, highest) of a draw per client", low=1, pair=True
    )
    batch_size: int = number(32, int, "samples a step", low=1)
    # strategy
    strategy: str = text("fedavg", "aggregation rule")
    server_momentum: float | None = number(
        None, float, "server momentum", low=0, high=1, open_high=True
    )
    server_lr: float | None = number(None, float, "server learning rate", low=0, open_low=True)
    num_byzantine: int | None = number(None, int, "f: malicious clients to withstand", low=0)
    num_selected: int | None = number(None, int, "m: updates to average", low=1)
    trim_fraction: float | None = number(
        None, float, "share trimmed at each end", low=0, high=0.5, open_high=True
    )
    beta_2: float | None = number(
        None, float, "decay of the server's second moment", low=0, high=1, open_high=True
    )
    tau: float | None = number(
        None, float, "added to the root of the second moment", low=0, open_low=True
    )
    norm_bound: float | None = number(
        None, float, "length that an update is clipped to", low=0, open_low=True
    )
    aggregation_iterations: int | None = number(None, int, "server iterations a round", low=1)
    smoothing: float | None = number(
        None, float, "distance below which all updates weigh alike", low=0, open_low=True
    )
    strategy_spec: str | None = text(None, "package.module:Class[:json] of a Flower strategy")
    client_mods: str | None = text(None, "package.module:name[:json] of a Flower mod, or a list")
    # attack
    attack: str | None = text(None, "poisoning attack; None: clean")
    malicious_fraction: float = number(0.0, float, "share of malicious clients", low=0, high=1)
    poison_ratio: float = number(0.0, float, "share of their samples poisoned", low=0, high=1)
    source_class: int | None = number(None, int, "class to poison", low=0)
    target_class: int | None = number(None, int, "class to pass it off as", low=0)
    redraw: bool | None = flag(None, "draw the poison anew at every participation")
    # privacy
    privacy: str | None = text(None, "mechanism of differential privacy; None: nothing is private")
    epsilon: float | None = number(
        None, float, "privacy loss of one participation", low=0, open_low=True
    )
    delta: float | None = number(
        None, float, "probability that epsilon fails", low=0, high=1, open_low=True, open_high=True
    )
    clip_norm: float | None = number(
        None, float, "C: longest update (dpsgd: gradient of a sample)", low=0, open_low=True
    )
    neighbours: str | None = text(
        None, "which change of a client's data is hidden", choices=("replace", "zero-out")
    )
    released: str | None = text(
        None,
        "what clients train and send: all, or the last linear layer",
        choices=("whole", "head"),
    )
    buffers: str | None = text(
        None, "what becomes of running statistics", choices=("local", "frozen", "released")
    )
    noise_multiplier: float | None = number(
        None, float, "noise of a DP-SGD step over clip_norm", low=0, open_low=True
    )
    sensitivity: float | None = number(
        None, float, "what LocalDpMod is told, whatever it clips to", low=0, open_low=True
    )
    epsilon_budget: float | None = number(
        None, float, "total of a client before which the run ends", low=0, open_low=True
    )

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = field.metadata["spec"].coerce(getattr(self, field.name))
            object.__setattr__(self, field.name, value)
        problems, defaults = validation.check_fields(self)
        for name, value in defaults.items():
            object.__setattr__(self, name, value)
        # preconditions speak of resolved values, so they need fields that are in order
        problems = problems or validation.check_preconditions(self)
        if problems:
            raise ScenarioError(problems)

    @property
    def cohort_size(self) -> int:
        """Clients sampled a round: fraction_train * num_clients, halves up."""
        return round_half_up(self.fraction_train * self.num_clients)

    @property
    def num_malicious(self) -> int:
        """Malicious clients: malicious_fraction * num_clients, halves up."""
        return round_half_up(self.malicious_fraction * self.num_clients)

    @property
    def epochs_range(self) -> tuple[int, int]:
        """Lowest and highest number of local epochs."""
        epochs = self.local_epochs
        return epochs if isinstance(epochs, tuple) else (epochs, epochs)

    @property
    def evaluated_rounds(self) -> tuple[int, ...]:
        """Rounds (from 1) after which the test set is scored."""
        rounds = range(1, self.rounds + 1)
        return tuple(r for r in rounds if r % self.eval_every == 0 or r == self.rounds)

    @cached_property
    def id(self) -> str:
        """Readable name: tokens joined by '-', characters [a-z0-9.]."""
        return naming.identifier(self, Scenario())

    @cached_property
    def hash(self) -> str:
        """16 hexadecimal digits of the SHA-256 of the canonical JSON form.

        Without the fields that are None: what a later version can add leaves today's hashes, and
        with them recorded baselines and verdicts, as they are.
        """
        chosen = {name: value for name, value in self.to_dict().items() if value is not None}
        canonical = json.dumps(chosen, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    def clean_twin(self) -> Scenario:
        """The same scenario without the attack; itself if it has none."""
        return self if self.attack is None else self.but(attack=None)

    def but(self, **changes: Any) -> Scenario:
        """A copy with ``changes``; parameters that only replaced components read are dropped."""
        return Scenario(**validation.adapt(self.to_dict(), changes))

    def to_dict(self) -> dict[str, Any]:
        """Plain values by field name, as JSON takes them."""
        return {
            field.name: list(value)
            if isinstance(value := getattr(self, field.name), tuple)
            else value
            for field in dataclasses.fields(self)
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Scenario:
        """The inverse of `to_dict`; unknown names are listed in a `ScenarioError`."""
        unknown = validation.unknown_fields(values, cls.specs())
        if unknown:
            raise ScenarioError(unknown)
        return cls(**values)

    @classmethod
    def specs(cls) -> dict[str, Spec]:
        """The declaration of each field, by name."""
        return {field.name: field.metadata["spec"] for field in dataclasses.fields(cls)}
