"""Record: everything that is known about a finished run, and its JSON form."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, field
from typing import Any

from fedcore.errors import FedcoreError, StoreError
from fedcore.exchange.evidence import TrainingEvidence
from fedcore.exchange.updates import UpdateAudit
from fedcore.exchange.worked import WorkAudit
from fedcore.federation.skew import ClientSkew
from fedcore.federation.threat import ClientPoison
from fedcore.privacy.statement import PrivacyStatement
from fedcore.records import decode
from fedcore.records.provenance import Provenance
from fedcore.scenario import Scenario

RECORD_SCHEMA = 2
TAIL_SHARE = 0.3


def tail_mean(values: tuple[float, ...]) -> float:
    """Mean over the last 30 % (rounded up, at least one) of ``values``."""
    count = max(1, math.ceil(TAIL_SHARE * len(values) - 1e-9))
    return math.fsum(values[-count:]) / count


@dataclass(frozen=True)
class Identity:
    """Evidence that an arm is what its name says.

    ``rounds_due`` counts rounds whose step could not equal FedAvg's, ``rounds_differing`` those
    in which it indeed did not. In ``rounds_checked`` clients differed visibly, and the step was
    that of the rule's definition.
    """

    rounds_due: int
    rounds_differing: int
    rounds_checked: int = 0


@dataclass(frozen=True)
class Exclusion:
    """A client of a round's cohort that was left out of the aggregation, and why."""

    round: int
    client: int
    reason: str


@dataclass(frozen=True)
class Audit:
    """What actually happened.

    ``samples`` and ``epochs`` are per client (epochs: of rounds in which an attack acts, where it
    changes them); ``cohorts`` per round; ``malicious`` the malicious
    clients, ``malicious_per_round`` how many took part; ``poison`` what changed in each of them;
    ``privacy`` what was promised about what clients sent, None where nothing was. ``excluded``
    are those of a cohort whose replies were missing or invalid (distributed runs). ``notes`` are
    the strategy's remarks on its own steps, such as iterations that did not converge. ``training``
    is the evidence of what was trained on and scored; where there is none, ``unseen`` says why.
    ``updates`` are what malicious clients sent under an attack on updates, ``work`` what they did
    under one within their local steps. ``absent`` are by round the clients that were drawn and did
    not answer, who are not in ``cohorts``; empty where all always answer. ``shares`` are by round
    how a rule that selects or weighs has weighed each client whose update it was given, in their
    order, as a multiple of its plain share (`fedcore.exchange.shares`). ``skew`` is what a
    partition did to the training images of each client. ``client_accuracy`` is that
    of the final model on each client's own distribution of labels
    (`fedcore.records.client_accuracy`).
    """

    samples: tuple[int, ...]
    epochs: tuple[int, ...]
    cohorts: tuple[tuple[int, ...], ...]
    malicious: tuple[int, ...]
    malicious_per_round: tuple[int, ...]
    poison: tuple[ClientPoison, ...]
    identity: Identity
    privacy: PrivacyStatement | None = None
    excluded: tuple[Exclusion, ...] = ()
    notes: tuple[str, ...] = ()
    training: TrainingEvidence | None = None
    unseen: str | None = None
    updates: tuple[UpdateAudit, ...] = field(default=(), metadata={"later": True})
    work: tuple[WorkAudit, ...] = field(default=(), metadata={"later": True})
    absent: tuple[tuple[int, ...], ...] = field(default=(), metadata={"later": True})
    shares: tuple[tuple[float, ...] | None, ...] = field(default=(), metadata={"later": True})
    skew: tuple[ClientSkew, ...] = field(default=(), metadata={"later": True})
    client_accuracy: tuple[float | None, ...] = field(default=(), metadata={"later": True})

    @property
    def samples_changed(self) -> int:
        """Labels changed, over all malicious clients."""
        return sum(client.changed for client in self.poison)


@dataclass(frozen=True)
class Timings:
    """Seconds of wall time in each phase of a run, as measured when it was made."""

    setup: float
    train: float
    aggregate: float
    evaluate: float

    @property
    def total(self) -> float:
        """Seconds of the whole run."""
        return self.setup + self.train + self.aggregate + self.evaluate


@dataclass(frozen=True)
class Record:
    """A finished run of ``scenario`` with ``seed``.

    ``accuracy``, ``loss``, ``recall`` and ``asr`` are per evaluated round (``rounds``, from 1);
    accuracy and recall are shares in [0, 1]. A run that left the finite numbers in round
    ``diverged`` counts at chance accuracy from there on, with loss None. ``model_digest`` is of
    the final global model.
    """

    scenario: Scenario
    seed: int
    engine: str
    rounds: tuple[int, ...]
    accuracy: tuple[float, ...]
    loss: tuple[float | None, ...]
    recall: tuple[tuple[float | None, ...], ...]
    asr: tuple[float, ...] | None
    diverged: int | None
    model_digest: str
    audit: Audit
    timings: Timings
    provenance: Provenance

    @property
    def tail_accuracy(self) -> float:
        """Mean accuracy over the last 30 % of the evaluated rounds, in [0, 1]."""
        return tail_mean(self.accuracy)

    @property
    def tail_asr(self) -> float | None:
        """Mean attack success rate over the same rounds; None where it is not defined."""
        return tail_mean(self.asr) if self.asr is not None else None

    @property
    def examples(self) -> int:
        """Training examples processed, over all rounds, clients and epochs.

        Those that a witness saw where rounds differ, or under ``local_steps``; without one, those
        of all epochs begun.
        """
        attack, noted = self.scenario.parts.attack, self.audit.training
        rounds = range(1, len(self.audit.cohorts) + 1)
        works = attack is not None and attack.work is not None
        ends = works and not all(map(attack.acts, rounds))  # epochs change with the rounds
        if noted is not None and (ends or self.scenario.local_steps is not None):
            return sum(noted.images)
        work = [n * e for n, e in zip(self.audit.samples, self.audit.epochs, strict=True)]
        return sum(work[client] for cohort in self.audit.cohorts for client in cohort)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as JSON takes them; the last one is a checksum over the others."""
        values = _plain(self)
        derived = {"tail_accuracy": self.tail_accuracy, "id": self.scenario.id}
        values = {"schema": RECORD_SCHEMA, **derived, **values}
        return {**values, "checksum": _checksum(values)}

    def to_json(self, indent: int | None = None) -> str:
        """JSON; `from_json` restores an equal record."""
        return json.dumps(self.to_dict(), indent=indent, allow_nan=False)

    @classmethod
    def from_json(cls, text: str, *, scenario: Scenario | None = None) -> Record:
        """The record written by `to_json`, with any white space.

        ``scenario``: it must be of this one, and written without ``indent``, byte for byte. Raises
        StoreError for text that is no record, of another schema, without its checksum, or whose
        values no run can have: see `fedcore.records.checks`.
        """
        try:
            values = decode.read_json(text)
            schema = values["schema"]
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(f"this is not a record: {error!r}") from error
        if schema != RECORD_SCHEMA or type(schema) is not int:
            raise StoreError(
                f"a record of schema {schema!r} cannot be read, this version reads "
                f"{RECORD_SCHEMA}: make the run again (--fresh)"
            )
        try:
            if scenario is not None and json.dumps(values) != text:
                raise ValueError("it is not as it was written")
            return cls._from_dict(values, scenario)
        # Scenario checks itself, and may meet any value in any place
        except (FedcoreError, ArithmeticError, LookupError, TypeError, ValueError) as error:
            raise StoreError(f"this record is damaged: {error}") from error
        except (AttributeError, RecursionError, MemoryError) as error:
            raise StoreError(f"this record is damaged: {error!r}") from error

    @classmethod
    def _from_dict(cls, values: dict[str, Any], scenario: Scenario | None) -> Record:
        from fedcore.records.checks import record_problems  # it imports what it checks with

        values = dict(values)
        checksum = values.pop("checksum")
        if checksum != _checksum(values):
            raise ValueError("its checksum does not fit, somebody or something has changed it")
        if list(values)[:3] != ["schema", "tail_accuracy", "id"]:
            raise ValueError("schema, tail_accuracy and id must come first")
        _, tail_accuracy, name = (values.pop(key) for key in tuple(values)[:3])
        if scenario is None:
            scenario = Scenario.from_dict(values["scenario"])
        if json.dumps(scenario.to_dict()) != json.dumps(values["scenario"]):
            raise ValueError(
                f"its scenario must be {scenario.id} with all fields as they are written"
            )
        record: Record = decode.read(cls, {**values, "scenario": scenario})
        if problems := record_problems(record):
            raise ValueError("; ".join(problems[:3]))
        if tail_accuracy != record.tail_accuracy or name != scenario.id:
            raise ValueError("id and tail_accuracy must be those of scenario and accuracy")
        return record


def _plain(value: Any) -> Any:
    """``value`` as JSON takes it: objects for dataclasses, lists for tuples."""
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    if isinstance(value, Scenario):
        return value.to_dict()
    fields = getattr(value, "__dataclass_fields__", None)
    if fields is None:
        return value
    return {
        name: _plain(own)
        for name, field in fields.items()
        if (own := getattr(value, name)) != field.default or not field.metadata.get("later")
    }


def _checksum(values: dict[str, Any]) -> str:
    """16 hexadecimal digits of the SHA-256 over ``values`` in their order."""
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16]
