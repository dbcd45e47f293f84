"""What must hold within a record, whoever wrote it: counts, ranges, and parts that must agree."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from fedcore.attacks.attack import attack_of, success_of
from fedcore.exchange.evidence import evidence_problems
from fedcore.federation.threat import malicious_clients
from fedcore.records.provenance_checks import DIGEST, provenance_problems
from fedcore.scenario import round_half_up

if TYPE_CHECKING:
    from fedcore.records.record import Record
    from fedcore.scenario import Scenario

# rounding of a mean of log-probabilities may leave the negative of this
_LOSS_ROUNDING = 1e-5
_MOST_CLIENTS = 10**7  # of a record: drawing the malicious among more takes seconds


def record_problems(record: Record) -> list[str]:
    """Rules that ``record`` breaks, each as a message; [] for every record that a run makes."""
    parts = (_scores, _diverged, _audit, _poison, _updates, _training, _privacy, _rest)
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
    due = [r for r in range(1, last + 1) if r % scenario.eval_every == 0 or r == last]
    if list(record.rounds) != due:
        yield f"evaluated rounds must be {_short(due)}, got {_short(record.rounds)}"
    lengths = {"accuracy": record.accuracy, "loss": record.loss, "recall": record.recall}
    if record.asr is not None:
        lengths["asr"] = record.asr
    for name, values in lengths.items():
        if len(values) != len(due):
            yield f"{name} must have {len(due)} values, got {len(values)}"
    for name in ("samples", "epochs"):
        if len(getattr(audit, name)) != scenario.num_clients:
            yield f"{name} must have {scenario.num_clients} values, one a client"
    for cohort in audit.cohorts:
        if len(cohort) != scenario.cohort_size or not _clients(cohort, scenario):
            yield (
                f"a cohort must be {scenario.cohort_size} clients of {scenario.num_clients} in "
                f"ascending order, got {_short(cohort)}"
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
    due = pair is not None and not absent
    if success is not None and pair is None:
        return  # whether its probe set is empty is for the proofs to say, who have the data
    if (record.asr is not None) != due:
        without = " without a test image of the source class" if absent else ""
        yield f"asr must be {'given' if due else 'null'} under attack {name}{without}"
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
    if any(n < 1 if c in works else not low <= n <= high for c, n in enumerate(audit.epochs)):
        yield f"epochs must be in [{low}, {high}], got {_short(audit.epochs)}"
    for cohort in audit.cohorts:
        if any(audit.samples[client] == 0 for client in cohort):
            yield f"a client without samples is in the cohort {_short(cohort)}"
            break
    expected = [int(client) for client in malicious_clients(scenario, record.seed)]
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


def _poison(record: Record) -> Iterator[str]:
    scenario, audit = record.scenario, record.audit
    attack = attack_of(scenario)
    data = attack.data if attack is not None else None
    expected = audit.malicious if data is not None else ()
    if tuple(each.client for each in audit.poison) != expected:
        yield "poison must have one entry for each malicious client, in their order"
        return
    for each in audit.poison:
        took_part = sum(each.client in cohort for cohort in audit.cohorts)
        redraw = data is not None and data.redraw
        draws = range(took_part + 1) if redraw else (1,)
        ratio = 0.0 if data is None else data.poison_ratio
        selected = each.draws * round_half_up(ratio * each.eligible)
        if each.poisoned != selected:
            yield (
                f"client {each.client} poisoned other numbers of samples than poison_ratio="
                f"{ratio:g} asks for: {each.poisoned} instead of {selected}"
            )
        elif (
            each.samples != audit.samples[each.client]
            or not 0 <= each.eligible <= each.samples
            or each.draws not in draws
            or not 0 <= each.changed <= each.poisoned
            or not 0 <= each.images_changed <= each.poisoned
        ):
            yield f"the counts of poison of client {each.client} do not agree: {each}"


def _updates(record: Record) -> Iterator[str]:
    attack, audit = attack_of(record.scenario), record.audit
    if audit.updates and (attack is None or attack.update is None):
        yield f"attack {record.scenario.attack!r} changes no updates, yet the audit has some"
    clients = [each.client for each in audit.updates]
    if clients != sorted(set(clients)) or not _clients(clients, record.scenario):
        yield "updates must have one entry for each client, in ascending order"
    for each in audit.updates:
        took_part = sum(each.client in cohort for cohort in audit.cohorts)
        spans = (each.change, each.cosine, each.ratio, each.benign_cosine, each.benign_ratio)
        if not 1 <= each.participations <= took_part or not 0 <= each.alone <= each.participations:
            yield f"client {each.client} cannot have sent {each.participations} updates"
        elif any(span is not None and span[0] > span[1] for span in spans):
            yield f"updates of client {each.client} have spans whose ends are swapped"
        elif not DIGEST.fullmatch(each.digest):
            yield f"updates of client {each.client} have no digest of 16 hexadecimal digits"


def _training(record: Record) -> Iterator[str]:
    audit = record.audit
    if (audit.training is None) != (audit.unseen is not None):
        yield "evidence of training must be there, or the reason why it is not"
    if audit.training is not None:
        yield from evidence_problems(audit.training, audit.cohorts)


def _privacy(record: Record) -> Iterator[str]:
    scenario, told = record.scenario, record.audit.privacy
    if (told is None) != (scenario.privacy is None):
        yield f"the statement of privacy must be there where privacy={scenario.privacy!r} is"
    if told is None:
        return
    clients, last = scenario.num_clients, len(record.audit.cohorts)
    if len(told.epsilons) != clients or len(told.participations) != clients:
        yield f"the statement of privacy must have {clients} clients"
        return
    for client, count in enumerate(told.participations):
        if not 0 <= count <= sum(client in cohort for cohort in record.audit.cohorts):
            yield f"client {client} cannot have taken part {count} times in {last} rounds"
    known = [value for value in told.epsilons if value is not None]
    total = max(known, default=0.0) if len(known) == clients else None
    if told.epsilon_total != total:
        yield f"epsilon_total must be {total}, the largest of a client, got {told.epsilon_total}"
    floats = {f.name: getattr(told, f.name) for f in dataclasses.fields(told)}
    for name, value in [*floats.items(), *(("epsilons", value) for value in known)]:
        if isinstance(value, int | float) and value < 0:
            yield f"privacy.{name} must be >= 0, got {value}"
    if told.clipped is not None:
        yield from _shares("privacy.clipped", (told.clipped,))
    if told.clip_norm != scenario.clip_norm or told.budget != scenario.epsilon_budget:
        yield "clip_norm and budget of the statement of privacy must be the scenario's"
    if (told.non_finite or 0) > sum(told.participations) or told.dimension < 1:
        yield "the statement of privacy must count releases of one coordinate or more"
    # over a network the clients clip, and nobody counts it
    if told.non_finite is None and not record.engine.startswith("flower-"):
        yield f"privacy.non_finite must be counted by engine {record.engine!r}"
    if told.delta != scenario.delta:
        yield f"privacy.delta must be the scenario's, {scenario.delta}, got {told.delta}"


def _rest(record: Record) -> Iterator[str]:
    for field in dataclasses.fields(record.timings):
        if (value := getattr(record.timings, field.name)) < 0:
            yield f"timings.{field.name} must be >= 0, got {value}"
    if not DIGEST.fullmatch(record.model_digest):
        yield f"model_digest must be 16 hexadecimal digits, got {record.model_digest!r}"
    if not record.engine:
        yield "engine must be named"
    yield from provenance_problems(record.provenance, record.scenario)


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
