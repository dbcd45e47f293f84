"""What must hold within a record, whoever wrote it: counts, ranges, and parts that must agree."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from fedcore.attacks.attack import attack_of, success_of
from fedcore.exchange.evidence import evidence_problems
from fedcore.federation.threat import malicious_clients
from fedcore.native.kernels import NONE
from fedcore.origin.closure import UNKNOWN
from fedcore.records.attack_checks import poison_problems, update_entry_problems
from fedcore.records.client_checks import client_accuracy_problems, share_problems, skew_problems
from fedcore.records.provenance import CHANGED, Provenance

if TYPE_CHECKING:
    from fedcore.records.record import Record
    from fedcore.scenario import Scenario

_DIGEST = re.compile("[0-9a-f]{16}")
_LONG_DIGEST = re.compile(r"[0-9a-f]{64}")
_COMMIT = re.compile("[0-9a-f]{40}|[0-9a-f]{64}")
# rounding of a mean of log-probabilities may leave the negative of this
_LOSS_ROUNDING = 1e-5
_MOST_CLIENTS = 10**7  # of a record: drawing the malicious among more takes seconds


def record_problems(record: Record) -> list[str]:
    """Rules that ``record`` breaks, each as a message; [] for every record that a run makes."""
    parts = (
        _scores,
        _diverged,
        _audit,
        poison_problems,
        update_entry_problems,
        share_problems,
        client_accuracy_problems,
        skew_problems,
        _training,
        _privacy,
        _rest,
    )
    problems = [*_rounds(record)]
    # the others rely on equal lengths and on clients that exist
    return problems or [text for part in parts for text in part(record)]


def _rounds(record: Record) -> Iterator[str]:
    scenario, audit = record.scenario, record.audit
    if record.seed < 0:
        yield f"seed must be >= 0, got {record.seed}"
    if scenario.num_clients > _MOST_CLIENTS:
        yield f"num_clients must be <= {_MOST_CLIENTS}, got {scenario.num_clients}"
    last = len(audit.cohorts)
    # a budget of privacy ends a run before its last round
    stopped = None if audit.privacy is None else audit.privacy.stopped
    whole = last == scenario.rounds and stopped is None
    ended = 0 < last < scenario.rounds and stopped == last + 1
    if not (whole or (ended and scenario.epsilon_budget is not None)):
        yield (
            f"there are cohorts of {last} rounds and privacy stops the run before {stopped}, the "
            f"scenario has {scenario.rounds} rounds"
        )
        return
    expected = [r for r in range(1, last + 1) if r % scenario.eval_every == 0 or r == last]
    if list(record.rounds) != expected:
        yield f"evaluated rounds must be {_short(expected)}, got {_short(record.rounds)}"
    lengths = {"accuracy": record.accuracy, "loss": record.loss, "recall": record.recall}
    if record.asr is not None:
        lengths["asr"] = record.asr
    for name, values in lengths.items():
        if len(values) != len(expected):
            yield f"{name} must have {len(expected)} values, got {len(values)}"
    for name in ("samples", "epochs"):
        if len(getattr(audit, name)) != scenario.num_clients:
            yield f"{name} must have {scenario.num_clients} values, one a client"
    if len(audit.absent) != (0 if scenario.absent_fraction is None else last):
        yield f"absent must have the clients of {last} rounds with an absent_fraction, else none"
        return
    least = scenario.min_present or 1
    for cohort, absent in zip(audit.cohorts, audit.absent or ((),) * last, strict=True):
        drawn = sorted((*cohort, *absent))
        whole = len(drawn) == scenario.cohort_size and _clients(drawn, scenario)
        if not whole or len(cohort) < least or not _clients(cohort, scenario):
            yield (
                f"a cohort must be {scenario.cohort_size} clients of {scenario.num_clients} in "
                f"ascending order, got {_short(cohort)}{' and absent ones' * bool(absent)}"
            )
            return


def _scores(record: Record) -> Iterator[str]:
    yield from _shares("accuracy", record.accuracy)
    yield from _shares("asr", record.asr or ())
    for loss in record.loss:
        if loss is not None and loss < -_LOSS_ROUNDING:
            yield f"loss must be >= 0, got {loss}"
    classes = len(record.recall[0])
    if classes < 2 or any(len(row) != classes for row in record.recall):
        yield f"recall must have one value a class in each round, got {classes} in the first"
    names = record.provenance.class_names
    if len(names) != classes or not all(names):
        yield f"class_names must name each of the {classes} classes, got {len(names)} names"
    measured = _undiverged(record, record.recall)
    known = {tuple(value is None for value in row) for row in measured}
    if len(known) > 1 or any(all(row) for row in known):
        yield "recall must be null for the classes without test samples, the same in each round"
    for accuracy, row in zip(record.accuracy, record.recall, strict=True):
        yield from _shares("recall", row)
        known_recall = [value for value in row if value is not None]
        if known_recall and not _between(min(known_recall), accuracy, max(known_recall)):
            yield f"accuracy must be a mean of the recalls, got {accuracy}"
    name, success = record.scenario.attack, success_of(record.scenario)
    pair = success.success_classes if success is not None else None
    # a rate over no test image is none; a run that diverged at once is at chance in it, too
    absent = pair is not None and any(row[pair[0] : pair[0] + 1] == (None,) for row in measured)
    defined = pair is not None and not absent
    if success is not None and pair is None:
        return  # whether its probe set is empty is for the proofs to say, who have the data
    if (record.asr is not None) != defined:
        without = " without a test image of the source class" if absent else ""
        yield f"asr must be {'given' if defined else 'null'} under attack {name}{without}"
    elif pair is not None and record.asr is not None:
        for asr, row in zip(record.asr, record.recall, strict=True):
            if asr + sum(v or 0 for v in row[pair[0] : pair[0] + 1]) > 1 + 1e-9:
                yield f"asr must be <= 1 - the recall of class {pair[0]}, got {asr}"


def _diverged(record: Record) -> Iterator[str]:
    """From the round of its divergence on a run counts at chance."""
    if record.diverged is None:
        return
    last = len(record.audit.cohorts)
    if not 1 <= record.diverged <= last:
        yield f"diverged must be a round in [1, {last}], got {record.diverged}"
        return
    classes = len(record.recall[0])
    for i, number in enumerate(record.rounds):
        if number < record.diverged:
            continue
        row = [record.accuracy[i], *record.recall[i]]
        if record.asr is not None:
            row.append(record.asr[i])
        if record.loss[i] is not None or any(value != 1 / classes for value in row):
            yield f"round {number} comes after divergence and must be at chance, without a loss"
            return


def _audit(record: Record) -> Iterator[str]:
    scenario, audit = record.scenario, record.audit
    low, high = scenario.epochs_range
    attack = attack_of(scenario)
    works = set(audit.malicious) if attack is not None and attack.work is not None else ()
    if any(n < 0 for n in audit.samples):
        yield f"samples must be >= 0, got {min(audit.samples)}"
    counted = scenario.steps_range is not None  # steps, of which epochs follow
    if any(
        n < 1 if counted or c in works else not low <= n <= high for c, n in enumerate(audit.epochs)
    ):
        yield f"epochs must be in [{low}, {high}], got {_short(audit.epochs)}"
    for cohort in audit.cohorts:
        if any(audit.samples[client] == 0 for client in cohort):
            yield f"a client without samples is in the cohort {_short(cohort)}"
            break
    expected = [int(client) for client in malicious_clients(scenario, record.seed, audit.samples)]
    if list(audit.malicious) != expected:
        yield f"malicious must be {_short(expected)}, got {_short(audit.malicious)}"
    present = [len(set(expected).intersection(cohort)) for cohort in audit.cohorts]
    if list(audit.malicious_per_round) != present:
        yield "malicious_per_round must count the malicious clients of each cohort"
    yield from _counts("identity", audit.identity, len(audit.cohorts))
    for each in audit.excluded:
        inside = 1 <= each.round <= len(audit.cohorts)
        if not inside or each.client not in audit.cohorts[each.round - 1] or not each.reason:
            yield f"excluded names client {each.client} of round {each.round}, who was not there"


def _counts(name: str, part: Any, most: int) -> Iterator[str]:
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        if type(value) is int and not 0 <= value <= most:
            yield f"{name}.{field.name} must be in [0, {most}], got {value}"


def _training(record: Record) -> Iterator[str]:
    audit = record.audit
    if (audit.training is None) != (audit.unseen is not None):
        yield "evidence of training must be there, or the reason why it is not"
    if audit.training is not None:
        yield from evidence_problems(audit.training, audit.cohorts)


def _privacy(record: Record) -> Iterator[str]:
    scenario, stated = record.scenario, record.audit.privacy
    if (stated is None) != (scenario.privacy is None):
        yield f"the statement of privacy must be there where privacy={scenario.privacy!r} is"
    if stated is None:
        return
    clients, last = scenario.num_clients, len(record.audit.cohorts)
    if len(stated.epsilons) != clients or len(stated.participations) != clients:
        yield f"the statement of privacy must have {clients} clients"
        return
    for client, count in enumerate(stated.participations):
        if not 0 <= count <= sum(client in cohort for cohort in record.audit.cohorts):
            yield f"client {client} cannot have taken part {count} times in {last} rounds"
    known = [value for value in stated.epsilons if value is not None]
    total = max(known, default=0.0) if len(known) == clients else None
    if stated.epsilon_total != total:
        yield f"epsilon_total must be {total}, the largest of a client, got {stated.epsilon_total}"
    floats = {f.name: getattr(stated, f.name) for f in dataclasses.fields(stated)}
    for name, value in [*floats.items(), *(("epsilons", value) for value in known)]:
        if isinstance(value, int | float) and value < 0:
            yield f"privacy.{name} must be >= 0, got {value}"
    if stated.clipped is not None:
        yield from _shares("privacy.clipped", (stated.clipped,))
    if stated.clip_norm != scenario.clip_norm or stated.budget != scenario.epsilon_budget:
        yield "clip_norm and budget of the statement of privacy must be the scenario's"
    if (stated.non_finite or 0) > sum(stated.participations) or stated.dimension < 1:
        yield "the statement of privacy must count releases of one coordinate or more"
    # over a network the clients clip, and nobody counts it
    if stated.non_finite is None and not record.engine.startswith("flower-"):
        yield f"privacy.non_finite must be counted by engine {record.engine!r}"
    if stated.delta != scenario.delta:
        yield f"privacy.delta must be the scenario's, {scenario.delta}, got {stated.delta}"


def _rest(record: Record) -> Iterator[str]:
    for field in dataclasses.fields(record.timings):
        if (value := getattr(record.timings, field.name)) < 0:
            yield f"timings.{field.name} must be >= 0, got {value}"
    if not _DIGEST.fullmatch(record.model_digest):
        yield f"model_digest must be 16 hexadecimal digits, got {record.model_digest!r}"
    if not record.engine:
        yield "engine must be named"
    yield from _provenance(record.provenance, record.scenario)


def _provenance(stated: Provenance, scenario: Scenario) -> Iterator[str]:
    digests = {"code": stated.code, "data": stated.data, "kernels": stated.kernels}
    digests |= {f"foreign {kind}": value for kind, value in stated.foreign}
    if stated.weights is not None and not _LONG_DIGEST.fullmatch(stated.weights):
        digests["weights"] = stated.weights  # of a record from when they had 16 digits, or changed
    for name, value in digests.items():
        # the states that cannot be told apart are said to be so, and match no key of the store
        bare = value.removesuffix("-incomplete") if name == "kernels" else value
        allowed = {CHANGED, UNKNOWN} if name != "kernels" else {NONE}
        if bare not in allowed and not _DIGEST.fullmatch(bare):
            yield f"{name} must be 16 hexadecimal digits, got {value!r}"
    if (stated.weights is None) != (scenario.weights is None):
        yield f"weights must have a digest where weights={scenario.weights!r} are given"
    if (stated.commit is None) != (stated.dirty is None) or not _COMMIT.fullmatch(
        stated.commit or "0" * 40
    ):
        yield f"commit must be 40 or 64 hexadecimal digits with dirty, got {stated.commit!r}"
    for name in ("versions", "foreign"):
        names = [key for key, _ in getattr(stated, name)]
        if names != sorted(set(names)) or not all(all(pair) for pair in getattr(stated, name)):
            yield f"{name} must be pairs of texts, sorted by name"
    known = dict(stated.versions)
    if (known.get("torch"), known.get("numpy")) != (stated.torch, stated.numpy):
        yield "versions must name torch and numpy as provenance does"
    if not all((stated.python, stated.device, stated.machine)):
        yield "python, device and machine must be named"
    try:
        same = datetime.fromisoformat(stated.date).isoformat(timespec="seconds") == stated.date
    except ValueError:
        same = False
    if not same:
        yield f"date must be of the form 2025-01-01T00:00:00+00:00, got {stated.date!r}"


def _undiverged(record: Record, values: Sequence[Any]) -> list[Any]:
    end = record.diverged
    return [v for v, r in zip(values, record.rounds, strict=True) if end is None or r < end]


def _between(low: float, value: float, high: float) -> bool:
    return low - 1e-9 <= value <= high + 1e-9


def _clients(cohort: Sequence[int], scenario: Scenario) -> bool:
    inside = all(0 <= client < scenario.num_clients for client in cohort)
    return inside and list(cohort) == sorted(set(cohort))


def _shares(name: str, values: Iterable[float | None]) -> Iterator[str]:
    for value in values:
        if value is not None and not 0 <= value <= 1:
            yield f"{name} must be in [0, 1], got {value}"
            return


def _short(values: Sequence[int]) -> str:
    shown = ", ".join(map(str, values[:8]))
    return f"[{shown}{', ...' if len(values) > 8 else ''}]"
