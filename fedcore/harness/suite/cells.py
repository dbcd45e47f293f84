"""Cells: the test cases of a suite, and the grids that yield them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Final

from fedcore.components.kinds import REFERENCE
from fedcore.components.parameters import REQUIRED
from fedcore.components.written import choice
from fedcore.harness.suite.place import Place
from fedcore.harness.suite.published import Published
from fedcore.partition.partitioner import PARTITIONERS
from fedcore.records.store import Run
from fedcore.scenario import Scenario
from fedcore.scenario.declared import registered
from fedcore.scenario.naming import apart, identifier
from fedcore.scenario.wire import MIRRORED

_SHARES = ("malicious_fraction", "poison_ratio")
#: What a user sets for the attacked arms alone.
OF_ATTACKS = (*_SHARES, "malicious_set")


def poisons(attack: Any) -> bool:
    """Whether ``attack``, as a scenario names it, reads a poison ratio of the scenario.

    Attacks on local work and on updates have none; a composed one has it in its parentheses.
    """
    cls = choice("attack", attack).cls if isinstance(attack, str) else type(attack)
    return cls is None or MIRRORED in cls.specs()


@dataclass(frozen=True)
class Cell:
    """One test case: ``scenario`` over several seeds, against its clean twin on each.

    ``control`` is the undefended arm under the strongest attack of the grid: where that does not
    degrade, the attack is void and the cell proves nothing. Where ``seeds`` leave the verdict
    open, as many again are added up to ``max_seeds`` (None: never).

    ``published`` is what a study printed for this cell: it then takes the place of thresholds.
    ``reported`` says why the cell is only shown beside that: the configuration differs, or
    nothing was published. Such a cell asserts its audits, and an accuracy above chance.

    ``changed`` are the fields that a user has set apart from the suite's own values: limits that
    were recorded for those do not hold.

    ``place`` says where the cell stands in a matrix of defences. Such a cell is measured, proven
    and compared with the others, and no limit is asked of it.
    """

    id: str
    scenario: Scenario
    seeds: int
    control: Scenario | None = None
    max_seeds: int | None = None
    published: Published | None = None
    reported: str | None = None
    changed: tuple[str, ...] = ()
    place: Place | None = None

    def looks(self) -> tuple[int, ...]:
        """Numbers of seeds at which this cell may be judged: n, 2 n, ... up to ``max_seeds``."""
        return tuple(range(self.seeds, max(self.max_seeds or 0, self.seeds) + 1, self.seeds))

    def runs(self, seeds: Sequence[int]) -> list[Run]:
        """The distinct runs that judging this cell on ``seeds`` needs."""
        scenarios = [self.scenario.clean_twin(), self.scenario]
        if self.control is not None:
            scenarios += [self.control.clean_twin(), self.control]
        return list(dict.fromkeys(Run(s, seed) for seed in seeds for s in scenarios))


#: An arm that nothing defends.
UNDEFENDED: Final[Mapping[str, Any]] = {"strategy": REFERENCE, "preaggregation": None}


@dataclass(frozen=True)
class Grid:
    """Strategies x partitions x (clean, attacks x malicious fractions x poison ratios).

    ``base`` is what all cells share; ``local`` gives each strategy its own local work. The control
    is ``undefended`` at the ``strongest`` (malicious fraction, poison ratio); None takes the
    highest of the grid. ``overrides`` are fields that a user sets: they come after ``local``, and a
    level of a share or of alpha takes the place of all that the grid has.
    """

    base: Scenario
    strategies: Sequence[Mapping[str, Any]]
    partitions: Sequence[Mapping[str, Any]]
    attacks: Sequence[Mapping[str, Any]]
    malicious_fractions: Sequence[float]
    poison_ratios: Sequence[float]
    seeds: int
    local: Callable[[Scenario], Scenario] = field(default=lambda scenario: scenario)
    undefended: Mapping[str, Any] = field(default_factory=lambda: dict(UNDEFENDED))
    clean: bool = True
    max_seeds: int | None = None
    strongest: tuple[float, float] | None = None
    named_against: Scenario | None = None  # ids name what differs from this; None: from base
    overrides: Mapping[str, Any] = field(default_factory=dict)  # what a user sets on the arms

    def cells(self) -> Iterator[Cell]:
        """The cells in reading order: by strategy, partition, attack, shares."""
        fractions = self._levels("malicious_fraction", self.malicious_fractions)
        ratios = self._levels("poison_ratio", self.poison_ratios)
        seen: set[Scenario] = set()  # overridden levels may coincide
        for strategy, partition in itertools.product(self.strategies, self.partitions):
            arm = self._arm(strategy, partition)
            if arm in seen:
                continue
            undefended = self._arm(self.undefended, partition)
            controls: dict[Any, Scenario] = {}
            seen.add(arm)
            changed = self._changed(strategy, partition)
            if self.clean:
                yield self._cell(arm, None, changed)
            levels = (
                (attack, fraction, ratio)
                for attack in self.attacks
                for fraction in fractions
                for ratio in (ratios if poisons(attack["attack"]) else [0.0])
            )
            for attack, fraction, ratio in levels:
                highest = self.strongest or (max(fractions), max(ratios))
                shares = max(highest[0], fraction), max(highest[1], ratio)
                control = id(attack), shares
                if control not in controls:
                    controls[control] = self._attacked(undefended, attack, *shares)
                yield self._cell(
                    self._attacked(arm, attack, fraction, ratio), controls[control], changed
                )

    def _changed(self, strategy: Mapping[str, Any], partition: Mapping[str, Any]) -> list[str]:
        """The overridden fields whose value is not the suite's own."""
        arm = self._own_arm(strategy, partition)
        suites = {name: [getattr(arm, name)] for name in self.overrides} | {
            "malicious_fraction": [*self.malicious_fractions],
            "poison_ratio": [*self.poison_ratios],
        }
        read = {name: v for name, v in self.overrides.items() if name != "alpha" or arm.alpha}
        return [name for name, value in read.items() if value not in suites[name]]

    def _levels(self, name: str, suites: Sequence[float]) -> Sequence[float]:
        return [self.overrides[name]] if name in self.overrides else suites

    def _own_arm(self, strategy: Mapping[str, Any], partition: Mapping[str, Any]) -> Scenario:
        return self.local(self.base.but(**strategy, **partition))

    def _arm(self, strategy: Mapping[str, Any], partition: Mapping[str, Any]) -> Scenario:
        arm = self._own_arm(strategy, partition)
        unread = {*OF_ATTACKS, *(("alpha",) if arm.alpha is None else ())}
        return arm.but(**{k: v for k, v in self.overrides.items() if k not in unread})

    def _attacked(
        self, arm: Scenario, attack: Mapping[str, Any], fraction: float, ratio: float
    ) -> Scenario:
        shares: dict[str, Any] = {"malicious_fraction": fraction}
        if "malicious_set" in self.overrides:
            shares["malicious_set"] = self.overrides["malicious_set"]
        if poisons(attack["attack"]):
            shares["poison_ratio"] = ratio
        return arm.but(**{**attack, **shares})

    def _cell(self, scenario: Scenario, control: Scenario | None, changed: Sequence[str]) -> Cell:
        # with its norm: FedBN without batch normalisation is no scenario
        named = ["strategy", "client_mods", "norm"]
        specs = scenario.parts.strategy.specs()
        named += [name for name, spec in specs.items() if spec.default is REQUIRED]
        arm = {name: getattr(scenario, name) for name in named}
        key = tuple(arm.items())
        if key not in self._references:
            reference = self.named_against or self.base
            self._references[key] = self.local(reference.but(**arm))
        if scenario.partition not in self._settings:
            self._settings[scenario.partition] = self._shared(scenario.partition)
        usual = self._settings[scenario.partition]
        name = identifier(scenario, self._references[key], usual)
        return Cell(name, scenario, self.seeds, control, self.max_seeds, changed=tuple(changed))

    @cached_property
    def _references(self) -> dict[Any, Scenario]:
        """What ids are relative to, by what a strategy brings."""
        return {}

    @cached_property
    def _settings(self) -> dict[str, dict[str, Any]]:
        """`_shared` by partition."""
        return {}

    def _shared(self, partition: str) -> dict[str, Any]:
        """Settings of ``partition`` that are alike wherever ``partitions`` has it: not named."""
        name = registered("partition", partition)
        default = self.base.partition
        of = [
            p
            for p in self.partitions
            if registered("partition", p.get("partition", default)) == name
        ]
        own = {*PARTITIONERS.entry(name).parameters, "partition_seed", "allow_incomplete"}
        return {
            name: value
            for name, value in of[0].items()
            if name in own and all(name in p and p[name] == value for p in of)
        }


def told_apart(cells: Iterable[Cell], among: Iterable[Cell] = ()) -> list[Cell]:
    """The distinct ``cells``. Where several scenarios share an id, it names what differs.

    So do the cells of grids whose bases differ; see `naming.apart`. ``among``: further cells, whose
    scenarios count, and which are not returned.
    """
    distinct = list(dict.fromkeys(cells))
    names = apart([(cell.id, cell.scenario) for cell in (*distinct, *among)])
    return [replace(cell, id=name) for cell, name in zip(distinct, names, strict=False)]
