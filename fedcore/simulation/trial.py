"""A run while it is being made: its state, advanced round by round, and its record at the end."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from fedcore.attacks.attack import work_in_steps
from fedcore.data.dataset import read_only
from fedcore.engine.evaluation import Score
from fedcore.engine.interface import Engine
from fedcore.engine.local_rules import require_rules
from fedcore.errors import IdentityError
from fedcore.exchange.cohort import Cohort, Memory
from fedcore.exchange.evidence import EvidenceLog
from fedcore.exchange.layout import Kind, digest
from fedcore.exchange.shares import ShareLog
from fedcore.exchange.updates import UpdateLog
from fedcore.exchange.worked import ball_remarks
from fedcore.federation.federation import Federation
from fedcore.federation.root import trainees
from fedcore.privacy.run import mechanism_of
from fedcore.records.client_accuracy import client_accuracy
from fedcore.records.provenance import code_of, provenance
from fedcore.records.record import Audit, Identity, Record, Timings
from fedcore.simulation.assault import assaulted, trial_step
from fedcore.simulation.clock import Clock
from fedcore.simulation.cohort_check import CohortCheck
from fedcore.simulation.identity import IdentityCheck
from fedcore.simulation.idle import refuse_idle_attack, refuse_idle_updates
from fedcore.simulation.root import split
from fedcore.simulation.score_check import check_of
from fedcore.simulation.work_watch import WorkWatch
from fedcore.strategies.aggregation import Aggregation


@dataclass(frozen=True)
class RoundReport:
    """What a listener hears after a round; ``score`` is None where the round was not evaluated."""

    round: int
    rounds: int
    malicious: int
    score: Score | None
    seconds: float


class Trial:
    """One run. `advance` makes a round; or the caller trains, and hands the cohort to `conclude`.

    ``round`` is the next round to make (from 1), ``clients`` its cohort, ``state`` the global model
    before it; ``trains`` is False once the model has left the finite numbers. ``started`` is when
    setting up began, by time.perf_counter. Raises AttackError for an attack that would change
    nothing, PrivacyError for a promise that cannot be kept.
    """

    def __init__(
        self,
        federation: Federation,
        engine: Engine,
        engine_name: str,
        device: torch.device,
        started: float,
        on_round: Callable[[RoundReport], None] | None = None,
    ) -> None:
        scenario, seed = federation.scenario, federation.seed
        self.federation, self.engine, self.engine_name = federation, engine, engine_name
        self.device, self.on_round = device, on_round
        self._malicious = tuple(federation.threat.malicious.tolist())
        self._cohorts = tuple(federation.cohort(r) for r in range(1, scenario.rounds + 1))
        require_rules(scenario, engine)
        self._mechanism = mechanism_of(federation, engine)
        if self._mechanism is not None:
            self._cohorts = self._mechanism.affordable(self._cohorts)
        self._present = tuple(len(set(self._malicious).intersection(c)) for c in self._cohorts)
        refuse_idle_attack(federation, self._cohorts, engine.layout)
        self._server = Aggregation.of(scenario, seed)
        spans = [(e.offset, e.size) for e in engine.layout.entries if e.kind is Kind.PARAMETER]
        told = None
        if not hasattr(engine, "excluded"):  # over a network clients say what they will
            samples = [len(part) for part in federation.dealt]
            told = CohortCheck(scenario, samples, federation.steps_of)
        self._check = IdentityCheck(self._server, scenario, spans, told)
        precision = engine_name.rpartition("-")[2]
        self._scores_due = check_of(federation, engine.layout, precision)
        last = len(self._cohorts)
        self._evaluated = tuple(
            r for r in range(1, last + 1) if r in scenario.evaluated_rounds or r == last
        )
        self._scores: list[Score] = []
        self._log = EvidenceLog(scenario.num_clients)
        attack = federation.threat.attack
        self._attack = None if attack is None else attack.update
        self._updates = UpdateLog(self._malicious, self._attack)
        self._attackers = Memory()  # what they remember
        self._shares = ShareLog(all(link.keeps_clients for link in self._server.chain))
        self._work = WorkWatch(federation, engine.layout, device)
        self._diverged: int | None = None
        self.round = 1
        self.state = engine.initial_state()
        self.clock = Clock(device)
        self.clock.seconds["setup"] = time.perf_counter() - started

    @property
    def finished(self) -> bool:
        """Whether all rounds are made, or all that a privacy budget pays for."""
        return self.round > len(self._cohorts)

    @property
    def trains(self) -> bool:
        """Whether the next round trains: a diverged model is left alone."""
        return self._diverged is None

    @property
    def clients(self) -> tuple[int, ...]:
        """The cohort of the next round."""
        return self._cohorts[self.round - 1]

    @property
    def trainees(self) -> tuple[int, ...]:
        """Whom the next round trains: its cohort, and the server where that has a root set."""
        return trainees(self.federation.root, self.clients)

    def advance(self) -> None:
        """Make the next round with the run's own engine."""
        begun = time.perf_counter()
        cohort = None
        if self.trains:
            with self.clock("train"):
                cohort = self.engine.train(self.state, self.round, self.trainees)
        self.conclude(cohort, begun)

    def complete(self) -> Record:
        """Make the rounds that are left with the run's own engine; the record."""
        while not self.finished:
            self.advance()
        return self.record()

    def conclude(self, cohort: Cohort | None, begun: float) -> RoundReport:
        """Aggregate, score and report the round that began at ``begun``; the next one is due.

        ``cohort`` is None if and only if the run no longer `trains`. An empty one, of an engine
        over a network that brought nobody back, changes nothing. It has the server's own row,
        where `trainees` has the server.
        """
        cohort = split(cohort, self.federation)
        if cohort is not None and cohort.clients:
            reason = getattr(self.engine, "unseen", None)
            self._log.trained(self.round, cohort.clients, cohort.noted, reason)
            self._work.trained(self.round, cohort)
            if self._scores_due is not None:
                with self.clock("train"):
                    due = self._scores_due.digests(self.state, self.round, cohort.clients)
                self._log.due(self.round, due)
        honest = cohort
        if cohort is not None and cohort.clients and self._attacks_updates:
            with self.clock("train"):
                cohort = self._assaulted(cohort)
        if cohort is not None and self._mechanism is not None:
            with self.clock("train"):
                cohort = self._mechanism.privatise(self.state, cohort, self.round, self.clients)
        if cohort is not None and cohort.clients:
            self._aggregate(cohort, honest)
        score = None
        if self.round in self._evaluated:
            with self.clock("evaluate"):
                score = self.engine.evaluate(self.state) if self.trains else self._chance()
            if self.trains:
                self._log.tested(score.seen, score.probed)
            self._scores.append(score)
        report = RoundReport(
            self.round,
            self.federation.scenario.rounds,
            self._present[self.round - 1],
            score,
            time.perf_counter() - begun,
        )
        self.round += 1
        if self.on_round is not None:
            self.on_round(report)
        return report

    @property
    def _attacks_updates(self) -> bool:
        """Whether malicious clients change their updates in the round that is due."""
        return self._attack is not None and self.federation.threat.acts(self.round)

    def _assaulted(self, cohort: Cohort) -> Cohort:
        """What the clients send of the updates that they have trained; both are noted."""
        size = self.engine.layout.num_parameters
        threat, state = self.federation.threat, self.state
        sent = assaulted(threat, cohort, state, self._server, self.round, size, self._attackers)
        malicious = set(self._malicious)
        tried = trial_step(self._server, cohort, state, self.round, size, malicious)
        self._updates.sent(self.round, cohort, sent, size, state.vector, tried)
        return sent

    def _aggregate(self, cohort: Cohort, honest: Cohort | None) -> None:
        parameters = self.engine.layout.num_parameters
        with self.clock("aggregate"):
            before = self.state
            self._check.before(before, cohort, parameters, self.round, honest)
            self.state = self._server.aggregate(
                before, cohort, parameters, self.round, self._check.mixed
            )
            self._work.moved(before, self.state)
            if bool(torch.isfinite(self.state.vector).all()):
                self._check.after(self.state)
                self._shares.stepped(self.round, cohort.samples, self.state.memory.noted)
            else:
                self._diverged = self.round

    def _chance(self) -> Score:
        """The score of a diverged model: that of guessing; it is never dropped from a mean."""
        classes = self.federation.dataset.num_classes
        asr = 1 / classes if self.federation.measures_success else None
        return Score(1 / classes, float("nan"), (1 / classes,) * classes, asr)

    def _remarks(self) -> tuple[str, ...]:
        scenario = self.federation.scenario
        work = work_in_steps(scenario)
        notes = () if self._attack is None else self._attack.remarks(self._attackers)
        notes += tuple(getattr(self.engine, "remarks", ()))  # of engines over a network
        if work is None or work.radius is None:
            return notes
        return notes + ball_remarks(self._work.audits(), str(scenario.attack), work.radius)

    def _identity(self) -> Identity:
        try:
            self._check.kept(self.state, self.round)
            return self._check.verdict()
        except IdentityError as error:
            # steps of another length are no other strategy: the cause is named first
            other = self._log.other_rate(self.federation.scenario.lr)
            if other is None:
                raise
            raise IdentityError(f"the run {other}; {error}") from error

    def record(self) -> Record:
        """What the finished run was.

        Raises IdentityError for an arm that belies its name, AttackError for an attack that sent
        every update as it was trained.
        """
        federation, scores = self.federation, self._scores
        scenario, updates = federation.scenario, self._updates.audits()
        refuse_idle_updates(federation, updates)
        audit = Audit(
            samples=tuple(len(part) for part in federation.dealt),
            epochs=tuple(int(e) for e in federation.epochs[: scenario.num_clients]),
            cohorts=self._cohorts,
            malicious=self._malicious,
            malicious_per_round=self._present,
            poison=federation.threat.audit(),
            identity=self._identity(),
            privacy=self._mechanism.statement() if self._mechanism is not None else None,
            excluded=tuple(getattr(self.engine, "excluded", ())),  # of engines over a network
            notes=self._server.strategy.remarks(self.state.memory) + self._remarks(),
            training=self._log.evidence(),
            unseen=self._log.absent,
            updates=updates,
            work=self._work.audits(),
            absent=federation.absent(len(self._cohorts)),
            skew=federation.skew,
            shares=self._shares.shares(len(self._cohorts)),
            client_accuracy=client_accuracy(
                scores[-1].recall, read_only(federation.dataset.train.labels), federation.dealt
            ),
        )
        targeted = all(score.asr is not None for score in scores)
        return Record(
            scenario=scenario,
            seed=federation.seed,
            engine=self.engine_name,
            rounds=self._evaluated,
            accuracy=tuple(score.accuracy for score in scores),
            loss=tuple(score.loss if math.isfinite(score.loss) else None for score in scores),
            recall=tuple(score.recall for score in scores),
            asr=tuple(score.asr or 0.0 for score in scores) if targeted else None,
            diverged=self._diverged,
            model_digest=digest(self.state.vector, self.state.counters),
            audit=audit,
            timings=Timings(**self.clock.seconds),
            provenance=provenance(
                self.device,
                federation.dataset.digest,
                federation.dataset.notes,
                federation.weights,
                federation.dataset.class_names,
                code_of(scenario, self.engine_name),
            ),
        )
