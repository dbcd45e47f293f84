"""The round loop: run(scenario, seed) -> Record."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from fedcore.attacks.poisoning import malicious_clients
from fedcore.engine.base import ENGINES, Engine
from fedcore.engine.evaluation import Score
from fedcore.errors import AttackError, ScenarioError
from fedcore.execution import Execution, exact_arithmetic
from fedcore.federation import Federation
from fedcore.identity import IdentityCheck
from fedcore.models.weights import weights_digest, weights_file
from fedcore.provenance import provenance
from fedcore.record import Audit, Record, Timings
from fedcore.scenario import Scenario
from fedcore.strategies.base import STRATEGIES
from fedcore.vector import digest


@dataclass(frozen=True)
class RoundReport:
    """What a listener hears after a round; ``score`` is None where the round was not evaluated."""

    round: int
    rounds: int
    malicious: int
    score: Score | None
    seconds: float


def run(
    scenario: Scenario,
    seed: int = 0,
    *,
    data_dir: str | Path | None = None,
    device: str = "auto",
    engine: str = "auto",
    precision: str = "float32",
    processes: int = 1,
    on_round: Callable[[RoundReport], None] | None = None,
) -> Record:
    """Train ``scenario`` with ``seed`` and return its record.

    ``data_dir`` holds data sets and weights (default: $FEDCORE_DATA, else the user cache);
    ``device``, ``engine``, ``precision`` and ``processes`` say how to compute: see `Execution`.
    Bitwise repeatable on one machine and device: on the CPU each process computes on one thread,
    as the number of threads changes the last bits.

    Raises a `FedcoreError`: DataError, ModelError or PartitionError for what cannot be set up,
    AttackError for an attack that would change nothing, IdentityError for an arm that is not
    what its name says.
    """
    if seed < 0:
        raise ScenarioError([f"seed must be >= 0, got {seed}"])
    started = time.perf_counter()
    execution = Execution(engine, device, precision, processes)
    chosen = execution.torch_device
    with exact_arithmetic(chosen):
        federation = Federation.prepare(scenario, seed, data_dir, chosen)
        with contextlib.closing(ENGINES[execution.engine_name](federation, execution)) as made:
            return _rounds(federation, made, execution.label, chosen, started, on_round)


def _rounds(
    federation: Federation,
    engine: Engine,
    engine_name: str,
    device: torch.device,
    started: float,
    on_round: Callable[[RoundReport], None] | None,
) -> Record:
    scenario, seed = federation.scenario, federation.seed
    malicious = tuple(int(c) for c in malicious_clients(scenario, seed))
    cohorts = tuple(federation.cohort(r) for r in range(1, scenario.rounds + 1))
    present = tuple(len(set(malicious).intersection(cohort)) for cohort in cohorts)
    _refuse_idle_attack(federation, cohorts)
    strategy = STRATEGIES[scenario.strategy](scenario)
    check = IdentityCheck(scenario.strategy)
    state = engine.initial_state()
    parameters = engine.layout.num_parameters
    clock = _Clock(device)
    clock.seconds["setup"] = time.perf_counter() - started
    evaluated = set(scenario.evaluated_rounds)
    scores: list[Score] = []
    diverged: int | None = None
    for r, clients in enumerate(cohorts, start=1):
        begun = time.perf_counter()
        score = None
        if diverged is None:
            with clock("train"):
                cohort = engine.train(state, r, clients)
            with clock("aggregate"):
                due = strategy.must_differ(cohort.restricted(parameters), state.memory)
                before = state
                state = strategy.aggregate(before, cohort, parameters)
                if bool(torch.isfinite(state.vector).all()):
                    check.see(due, before, state, cohort, parameters)
                else:
                    diverged = r
        if r in evaluated:
            with clock("evaluate"):
                score = engine.evaluate(state) if diverged is None else _chance(federation)
            scores.append(score)
        if on_round is not None:
            spent = time.perf_counter() - begun
            on_round(RoundReport(r, scenario.rounds, present[r - 1], score, spent))
    audit = Audit(
        samples=tuple(len(part) for part in federation.parts),
        epochs=tuple(int(e) for e in federation.epochs),
        cohorts=cohorts,
        malicious=malicious,
        malicious_per_round=present,
        poison=federation.poisoning.audit(),
        identity=check.verdict(),
    )
    weights = weights_file(scenario.weights, scenario.model, federation.data_dir)
    targeted = all(score.asr is not None for score in scores)
    return Record(
        scenario=scenario,
        seed=seed,
        engine=engine_name,
        rounds=scenario.evaluated_rounds,
        accuracy=tuple(score.accuracy for score in scores),
        loss=tuple(score.loss if score.loss == score.loss else None for score in scores),
        recall=tuple(score.recall for score in scores),
        asr=tuple(score.asr or 0.0 for score in scores) if targeted else None,
        diverged=diverged,
        model_digest=digest(state.vector, state.counters),
        audit=audit,
        timings=Timings(**clock.seconds),
        provenance=provenance(
            device,
            federation.dataset.digest,
            federation.dataset.notes,
            weights_digest(weights) if weights is not None else None,
        ),
    )


def _refuse_idle_attack(federation: Federation, cohorts: Iterable[tuple[int, ...]]) -> None:
    """AttackError unless a client with changed labels takes part in some round.

    Under redraw every malicious client that takes part counts: its first draw has been checked.
    """
    scenario, poisoning = federation.scenario, federation.poisoning
    if scenario.attack is None:
        return
    malicious = {int(c) for c in poisoning.malicious}
    effective = malicious if scenario.redraw else {p.client for p in poisoning.audit() if p.changed}
    if not any(effective.intersection(cohort) for cohort in cohorts):
        raise AttackError(
            f"none of the {len(effective)} clients with changed labels takes part in any of the "
            f"{scenario.rounds} rounds with seed {federation.seed}: the attack would change "
            "nothing; raise rounds, fraction_train or malicious_fraction"
        )


def _chance(federation: Federation) -> Score:
    """The score of a diverged model: that of guessing; it is never dropped from a mean."""
    classes = federation.dataset.num_classes
    asr = None if federation.success_classes is None else 1 / classes
    return Score(1 / classes, float("nan"), (1 / classes,) * classes, asr)


class _Clock:
    """Adds up wall time per phase; waits for the device before reading it."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds = dict.fromkeys(("setup", "train", "aggregate", "evaluate"), 0.0)

    @contextlib.contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        begun = time.perf_counter()
        yield
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.seconds[phase] += time.perf_counter() - begun
