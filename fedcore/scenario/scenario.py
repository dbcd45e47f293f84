"""Scenario: what defines an experiment but the seed; ids, keys, rows and flags derive from it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from functools import cache, cached_property, lru_cache
from typing import Any

from fedcore.components.component import Component
from fedcore.components.kinds import REFERENCE
from fedcore.components.parameters import Spec, param, spec_of
from fedcore.components.registry import changes
from fedcore.errors import ScenarioError
from fedcore.outside.limits import FIELDS
from fedcore.scenario import naming, validation
from fedcore.scenario.changes import adapt
from fedcore.scenario.declared import parameters
from fedcore.scenario.parts import Parts
from fedcore.scenario.rounding import round_half_up as round_half_up
from fedcore.scenario.state import state
from fedcore.scenario.wire import NAMES


@dataclasses.dataclass(frozen=True, kw_only=True, init=False, repr=False, eq=False)
class Scenario:
    """One experiment: fields of its own, and a component of each kind with its parameters.

    A component is given by its name with its parameters beside it, in its written form or as an
    object; ``parts`` has the objects, and every name reads flat, None where nothing reads it::

        Scenario(partition="dirichlet", alpha=0.1)
        Scenario(partition="dirichlet(alpha=0.1)")
        Scenario(partition=Dirichlet(alpha=0.1)).alpha

    Validated at construction: `ScenarioError` lists every problem at once. A parameter that is not
    given takes the component's default, and a value that no chosen component reads is refused.
    """

    parts: dataclasses.InitVar[Parts]

    # data
    dataset: str = param("mnist5k, a 2-D MedMNIST set, npz:PATH or folder:PATH", default="mnist5k")
    image_size: int | None = param(
        "side in pixels; None keeps the native one", default=None, low=8, token="px"
    )
    grayscale: bool = param("turn colours to grey, repeated on 3 channels", default=False)
    normalize: str = param(
        "subtract mean, divide by deviation", default="half", choices=("half", "imagenet")
    )
    model: str = param("network architecture", default="cnn")
    # partition
    partition: str = param("how samples are dealt to clients", default="iid")
    partition_seed: int | None = param("fixed partition; None: by the run", default=None, low=0)
    allow_incomplete: bool = param("accept empty clients and dropped classes", default=False)
    # federation
    num_clients: int = param("clients in all", default=20, low=1, token="clients")
    fraction_train: float = param(
        "share of the clients in a round's cohort",
        default=0.5,
        low=0,
        high=1,
        open_low=True,
        token="cohort",
    )
    absent_fraction: float | None = param(
        "probability that a client does not answer; None: all answer",
        default=None,
        low=0,
        high=1,
        open_low=True,
        open_high=True,
        token="absent",
    )
    absent_rounds: float | None = param(
        "rounds that an absence lasts, in the mean; None: drawn anew each round",
        default=None,
        low=1,
    )
    min_present: int | None = param(
        "clients of a cohort that are waited for; None: 1", default=None, low=1
    )
    rounds: int = param("communication rounds", default=15, low=1, token="rounds")
    eval_every: int = param("rounds between evaluations; the last is always one", default=1, low=1)
    validation_fraction: float = param(
        "share of a client's samples held out of training",
        default=0.0,
        low=0,
        high=1,
        open_high=True,
    )
    # local work
    optimizer: str = param("local solver", default="momentum")
    lr: float = param("local learning rate", default=0.05, low=0, open_low=True, token="lr")
    weight_decay: float = param("L2 penalty, added to the gradient", default=0.0, low=0)
    local_epochs: int | tuple[int, int] = param(
        "epochs a round, or (lowest, highest) of a draw per client",
        default=1,
        low=1,
        token="epochs",
    )
    local_steps: int | tuple[int, int] | None = param(
        "steps a round in the place of epochs, or (lowest, highest) of a draw per client",
        default=None,
        low=1,
        token="steps",
    )
    batch_size: int = param("samples a step", default=32, low=1)
    # strategy
    strategy: str = param("aggregation rule", default=REFERENCE)
    preaggregation: str | None = param(
        "steps before the aggregation rule, as bucketing(size=2), nnm(f=1)", default=None
    )
    # attack
    attack: str | None = param("poisoning attack; None: clean", default=None)
    malicious_fraction: float = param("share of malicious clients", default=0.0, low=0, high=1)
    poison_ratio: float = param("share of their samples poisoned", default=0.0, low=0, high=1)
    malicious_set: str | None = param(
        "how malicious clients are drawn: balanced by their samples; None: whoever they are",
        default=None,
        choices=("balanced",),
        token="malset",
    )
    probe: str | None = param(
        "attack, as backdoor(target=0), whose success is measured where nobody attacks",
        default=None,
    )
    # privacy
    privacy: str | None = param(
        "mechanism of differential privacy; None: nothing is private", default=None
    )

    def __init__(self, **values: Any) -> None:
        self.__dict__.update(state(values, own_specs()))
        # preconditions speak of resolved values, so they need fields that are in order
        if problems := validation.check_preconditions(self):
            raise ScenarioError(problems)

    def __getattr__(self, name: str) -> Any:
        """None for a parameter of a component that is not chosen; AttributeError for no name."""
        if not name.startswith("_") and name in parameters():
            return None
        raise AttributeError(f"a scenario has no {name!r}")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Scenario):
            return NotImplemented
        return self is other or self._canonical == other._canonical

    def __hash__(self) -> int:
        return hash(self._canonical)

    def __repr__(self) -> str:
        own = own_specs()
        words = [
            f"{name}={value!r}"
            for name, value in self._values().items()
            if value is not None and (name not in own or value != own[name].default)
        ]
        return f"Scenario({', '.join(words)})"

    @property
    def cohort_size(self) -> int:
        """Clients sampled a round: fraction_train * num_clients, halves up.

        With an absent_fraction they are those drawn, of whom min_present answer at least.
        """
        return round_half_up(self.fraction_train * self.num_clients)

    @property
    def data(self) -> str:
        """The data set with all of its parameters, as `fedcore.data.loading.load` takes it."""
        spelled: str = self.parts.dataset.spelled()
        return spelled

    @property
    def rows(self) -> int:
        """Updates that the strategy is given: the cohort's, after pre-aggregation."""
        rows = self.cohort_size
        for step in self.parts.preaggregation:
            rows = step.rows(rows)
        return rows

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
    def steps_range(self) -> tuple[int, int] | None:
        """Lowest and highest number of local steps; None where epochs are counted."""
        steps = self.local_steps
        return (steps, steps) if isinstance(steps, int) else steps

    @property
    def evaluated_rounds(self) -> tuple[int, ...]:
        """Rounds (from 1) after which the test set is scored."""
        rounds = range(1, self.rounds + 1)
        return tuple(r for r in rounds if r % self.eval_every == 0 or r == self.rounds)

    @cached_property
    def id(self) -> str:
        """Readable name: tokens joined by '-', characters [a-z0-9.]."""
        return naming.identifier(self, default())

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
        """The same scenario without the attack; itself if it has none.

        It is scored on the probe set of the attack, where that has one.
        """
        attack = self.parts.attack
        if attack is None:
            return self
        probe = attack.probe_attack
        return self.but(attack=None) if probe is None else self.but(attack=None, probe=probe)

    def but(self, **changes: Any) -> Scenario:
        """A copy with ``changes``; parameters of a component that is replaced go with it.

        A component of another name keeps, of what the old one read, the values that were chosen
        and that it reads, too.
        """
        return Scenario(**adapt(self, changes)) if changes else self

    def to_dict(self) -> dict[str, Any]:
        """Plain values by field name, as JSON takes them."""
        return {name: _plain(value) for name, value in self._values().items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Scenario:
        """The inverse of `to_dict`; unknown names are listed in a `ScenarioError`."""
        return cls(**values)

    @classmethod
    def specs(cls) -> dict[str, Spec]:
        """The declaration of each field and of each parameter of a component, by name."""
        return dict(_all_specs(changes()))

    def declared(self) -> dict[str, Spec]:
        """`specs`, where two components declare one name as the chosen one does."""
        found = self.specs()
        for part in self.parts.single().values():
            found |= {n: s for n, s in part.specs().items() if n in found and n in self.__dict__}
        return found | own_specs()

    def _values(self) -> dict[str, Any]:
        """Names and values as they go out: all of `NAMES`, then what else has a value."""
        return {name: self.__dict__[name] for name in self._names}

    @cached_property
    def _canonical(self) -> frozenset[tuple[str, Any]]:
        return frozenset(item for item in self._values().items() if item[1] is not None)


@cache
def own_specs() -> dict[str, Spec]:
    """The declaration of each field that a scenario has itself."""
    fields = (field for field in dataclasses.fields(Scenario) if field.metadata)
    specs = {field.name: spec_of(Scenario, field) for field in fields}
    return {n: dataclasses.replace(s, most=FIELDS.get(n, s.most)) for n, s in specs.items()}


@lru_cache(maxsize=4)
def _all_specs(state: int) -> dict[str, Spec]:
    known = {name: next(iter(kinds.values())) for name, kinds in parameters().items()}
    known |= own_specs()
    return {name: known[name] for name in dict.fromkeys((*NAMES, *known)) if name in known}


@cache
def default() -> Scenario:
    """The scenario of which nothing is given."""
    return Scenario()


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value.spelled() if isinstance(value, Component) else value
