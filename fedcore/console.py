"""What a run prints for people: a line per round, then a summary of the record."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import TextIO

from fedcore.attacks.attack import attack_of, success_of
from fedcore.data.dataset import class_label, named_classes
from fedcore.records.client_accuracy import honest_spread
from fedcore.records.detection import detections
from fedcore.records.record import Record
from fedcore.scenario import Scenario
from fedcore.simulation.trial import RoundReport

_WIDTH = 96
_CLASSES = 20  # shown; the record has all
_DETECTED = {"left_out": "left out", "weighed_down": "below half of their share"}


class RoundLines:
    """A listener for `fedcore.simulation.runner.run` that prints a line per round to ``stream``."""

    def __init__(self, scenario: Scenario, stream: TextIO) -> None:
        self.stream = stream
        self.targeted = success_of(scenario) is not None
        self.width = max(len("round"), 2 * len(str(scenario.rounds)) + 1)
        asr = "     ASR" if self.targeted else ""
        self._print(f"{'round':>{self.width}}  accuracy     loss{asr}  malicious  seconds")

    def __call__(self, report: RoundReport) -> None:
        """Print the line of one round; '-' stands for what was not evaluated."""
        place = f"{report.round}/{report.rounds}"
        score = report.score
        accuracy = loss = asr = "-"
        if score is not None:
            accuracy = f"{100 * score.accuracy:.2f} %"
            loss = f"{score.loss:.4g}"
            asr = "-" if score.asr is None else f"{100 * score.asr:.1f} %"
        shown = f"{asr:>8}" if self.targeted else ""
        self._print(
            f"{place:>{self.width}}{accuracy:>10}{loss:>9}{shown}{report.malicious:>11}"
            f"{report.seconds:>9.2f}"
        )

    def _print(self, line: str) -> None:
        print(line, file=self.stream, flush=True)


def summary(record: Record) -> str:
    """Result, audit and seconds of a finished run, for people."""
    scenario = record.scenario
    lines = [("scenario", scenario.id)]
    evaluated = len(record.rounds)
    tail = f"{100 * record.tail_accuracy:.2f} %, mean of the last 30 % of {evaluated} evaluated"
    lines.append(("accuracy", tail + (" round" if evaluated == 1 else " rounds")))
    if record.tail_asr is not None:
        lines.append(("ASR", f"{100 * record.tail_asr:.2f} % of {_success(record)}, same rounds"))
    if record.diverged is not None:
        text = f"in round {record.diverged}; counted at chance accuracy from there on"
        lines.append(("diverged", text))
    lines += [("audit", text) for text in _audit(record)]
    if record.audit.privacy is not None:
        lines += [("privacy", text) for text in record.audit.privacy.lines()]
    lines += [("clients", text) for text in _clients(record)]
    if recalls := _classes(record):
        lines.append(("classes", recalls))
    lines += [("note", note) for note in (*record.audit.notes, *record.provenance.data_notes)]
    lines.append(("model", f"digest {record.model_digest}"))
    t = record.timings
    parts = (
        f"set-up {t.setup:.2f}, train {t.train:.2f}, aggregate {t.aggregate:.2f}, "
        f"evaluate {t.evaluate:.2f}"
    )
    lines.append(("seconds", f"{t.total:.2f} ({parts}) on {record.provenance.device}"))
    return "\n".join(
        textwrap.fill(
            text,
            _WIDTH,
            initial_indent=f"{label:<10}",
            subsequent_indent=" " * 10,
            break_long_words=False,
            break_on_hyphens=False,
        )
        for label, text in lines
    )


def _success(record: Record) -> str:
    """What the success rate is a share of, and what success is."""
    success, names = success_of(record.scenario), record.provenance.class_names
    classes = None if success is None else success.success_classes
    if classes is None:
        return f"the probe set of {success} taken for its labels"
    source, target = (class_label(number, names) for number in classes)
    return f"{source} taken for {target}"


def _classes(record: Record) -> str:
    """Names with the recall of each class at the end; empty where classes are mere numbers."""
    names = record.provenance.class_names
    if not named_classes(names) or len(names) != len(record.recall[-1]):
        return ""
    shares = zip(names, record.recall[-1], strict=True)
    labels = [
        f"{class_label(number, names)} {'-' if share is None else f'{100 * share:.0f} %'}"
        for number, (_, share) in enumerate(shares)
    ]
    more = f" and {len(labels) - _CLASSES} more" if len(labels) > _CLASSES else ""
    return f"recall at the end: {', '.join(labels[:_CLASSES])}{more}"


def _clients(record: Record) -> Iterator[str]:
    """How well clients are served, who was absent, whom the rule detected."""
    if (found := honest_spread(record)) is not None:
        who = "clients" if record.scenario.attack is None else "honest clients"
        yield (
            f"final model {100 * found.mean:.1f} % in the mean over {found.clients} {who}, "
            f"{100 * found.worst:.1f} % over the worst tenth of them"
        )
    if absent := sum(map(len, record.audit.absent)):
        drawn = absent + sum(map(len, record.audit.cohorts))
        yield f"{absent} of {drawn} drawn absent"
    for rule, detection in (detections(record) or {}).items():
        counts = detection.counts
        rates = (counts.precision, counts.recall, counts.false_positive_rate)
        shown = ["-" if rate is None else f"{100 * rate:.0f} %" for rate in rates]
        chance = 100 * (counts.base_rate or 0)
        yield (
            f"{_DETECTED[rule]}: precision {shown[0]} (chance {chance:.0f} %), recall {shown[1]}, "
            f"false positives {shown[2]}"
        )


def _changed(record: Record) -> str:
    """What the attack changed, as counts."""
    attack, audit = attack_of(record.scenario), record.audit
    found = []
    if attack is not None and attack.data is not None:
        often = " over all participations" if attack.data.redraw else ""
        found.append(f"{audit.samples_changed} labels changed{often}")
        if images := sum(client.images_changed for client in audit.poison):
            found.append(f"{images} images changed")
    if attack is not None and attack.work is not None:
        found.append("other local work")
    if audit.updates:
        # of a client that sent its own update at least once it is not said that it changed all
        changed = [each for each in audit.updates if each.change is None or each.change[0] > 0]
        found.append(f"{sum(each.participations for each in changed)} updates changed")
    return ", ".join(found)


def _audit(record: Record) -> list[str]:
    audit, scenario = record.audit, record.scenario
    rounds = len(audit.cohorts)  # a budget of privacy may end a run early
    found = []
    if scenario.attack is None:
        found.append("no attack")
    else:
        clients = " ".join(str(client) for client in audit.malicious)
        pairs = zip(audit.malicious_per_round, audit.cohorts, strict=True)
        majority = sum(2 * present > len(cohort) for present, cohort in pairs)
        found.append(
            f"{len(audit.malicious)} of {scenario.num_clients} clients malicious ({clients})"
        )
        found.append(f"{_changed(record)}; malicious majority in {majority} of {rounds} rounds")
    identity = audit.identity
    defined = vars(type(scenario.parts.strategy)).get("definition") is not None
    if identity.rounds_checked and not defined:
        found.append(
            f"strategy {scenario.strategy!r} declares no definition: its steps are compared with "
            "FedAvg's only"
        )
    elif identity.rounds_checked:
        found.append(
            f"steps as strategy {scenario.strategy!r} is defined in {identity.rounds_checked} of "
            f"{rounds} rounds in which that can be told"
            + ("" if scenario.preaggregation is None else f", behind {scenario.preaggregation}")
        )
    if identity.rounds_due:
        found.append(
            f"differs from FedAvg in {identity.rounds_differing} of the {identity.rounds_due} "
            "rounds in which it must"
        )
    return found
