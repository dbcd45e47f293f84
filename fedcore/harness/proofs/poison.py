"""What an attack makes of data and local work, worked out a second time, apart from its own code.

Which samples, labels, images and epochs, and the probe set. The formulas of fedcore's own attacks
and triggers stand here once more; those of other packages are asked for what only they know.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from fedcore.attacks.attack import Attack, DataAttack, Draw, Samples, Work, attack_of
from fedcore.harness.proofs import draws
from fedcore.harness.proofs.images import noised, part_of, stamped

if TYPE_CHECKING:
    from fedcore.scenario import Scenario

Indices = npt.NDArray[np.int64]
EpochsAndSteps = tuple[int, int | None]
Images = npt.NDArray[np.uint8]
# the numbers of `fedcore.streams.Purpose`, which are part of every stored result
_SAMPLES, _LABELS = 6, 7
_OF_ALL: Final = ("labelflip", "pairflip", "arnoise")  # every sample is eligible
UNKNOWN: Final = -1
_BACKDOORS: Final = ("backdoor", "dba")


@dataclass(frozen=True, eq=False)
class Poisoned:
    """The labels that a malicious client believes in, by its part, and its poisoned copies.

    ``images`` [k, h, w, c] are the copies of the samples at ``places`` [k] of the part.
    """

    labels: Indices
    places: Indices
    images: Images | None = None


def poisoned(
    scenario: Scenario,
    seed: int,
    round: int,
    client: int,
    clean: Indices,
    classes: int,
    images: Images | None = None,
    sizes: Sequence[int] | None = None,
) -> Poisoned:
    """What ``client`` trains on in ``round``, of the ``clean`` labels [n] and ``images`` it has.

    ``sizes`` are the training samples of each client.

    Where labels are drawn from scores, which no record has, they are `UNKNOWN`.
    """
    attack = data_attack(scenario)
    assert attack is not None
    drawn_for = round if attack.redraw else -1
    candidates = np.flatnonzero(_eligible(attack, clean))
    order = draws.generator(seed, _SAMPLES, drawn_for, client).permutation(candidates)
    drawing = draws.generator(seed, _LABELS, drawn_for, client)
    taken = draws.half_up(attack.poison_ratio * len(candidates))
    if attack.needs_scores:
        labels = clean.copy()
        labels[order[:taken]] = UNKNOWN
        return Poisoned(labels, order[:taken])
    given = images[order] if attack.changes_images and images is not None else None
    place = draws.malicious_order(scenario, seed, sizes).index(client)
    draw = Draw(classes, client, drawing, place, seed)
    made = _made(attack, Samples(clean[order], given), draw)
    labels = clean.copy()
    labels[order[:taken]] = made.labels[:taken]
    copies = None if made.images is None else made.images[:taken]
    return Poisoned(labels, order[:taken], copies)


def works(
    scenario: Scenario, honest: Sequence[EpochsAndSteps], malicious: Sequence[int]
) -> list[EpochsAndSteps]:
    """(epochs, steps or None) of each client, of those that all would make."""
    attack, result = attack_of(scenario), list(honest)
    if attack is not None and attack.work is not None:
        for client in malicious:
            result[client] = _work(attack.work, honest[client])
    return result


def _work(work: Any, honest: EpochsAndSteps) -> EpochsAndSteps:
    """What the local ``work`` of an attack makes of the ``honest`` one."""
    if work.name not in ("trainlonger", "pgd", "neurotoxin"):
        asked = work.changed(Work(honest[0], steps=honest[1]))
        return asked.epochs, asked.steps
    inner = None if work.of is None else work.of.work
    epochs, steps = honest if inner is None else _work(inner, honest)
    if work.name != "trainlonger":
        return epochs, steps
    if steps is not None:
        return epochs, max(1, draws.half_up(work.epoch_factor * steps))
    return max(1, draws.half_up(work.epoch_factor * epochs)), None


def probe(success: Attack, images: Images, labels: Indices) -> Samples | None:
    """The probe set of ``success``, of the test split; None where it has none."""
    source: Any = success
    if source.name not in _BACKDOORS:
        return success.probe(Samples(labels, images))
    others = labels != source.target
    triggered = stamped(source.trigger, images[others])
    return Samples(np.full(len(triggered), source.target), triggered)


def acts(scenario: Scenario, round: int) -> bool:
    """Whether the malicious clients of a scenario attack in ``round``."""
    attack: Any = attack_of(scenario)
    if attack is None:
        return False
    return round <= attack.last_round if attack.name == "until" else bool(attack.acts(round))


def data_attack(scenario: Scenario) -> DataAttack | None:
    """The part of the scenario's attack that changes training data."""
    attack = attack_of(scenario)
    return None if attack is None else attack.data


def _eligible(attack: Any, labels: Indices) -> npt.NDArray[np.bool_]:
    if attack.name == "targetedflip":
        return np.asarray(labels == attack.source_class)
    if attack.name in _BACKDOORS:
        return np.asarray(labels != attack.target)
    if attack.name in _OF_ALL:
        return np.ones(len(labels), np.bool_)
    return np.asarray(attack.eligible(labels))


def _made(attack: Any, samples: Samples, draw: Draw) -> Samples:
    labels, classes = samples.labels, draw.num_classes
    if attack.name == "labelflip":
        return Samples((labels + draw.generator.integers(1, classes, size=len(labels))) % classes)
    if attack.name == "pairflip":
        return Samples(classes - 1 - labels)
    if attack.name == "targetedflip":
        return Samples(np.full(len(labels), attack.target_class))
    if samples.images is not None and attack.name == "arnoise":
        return Samples(labels, noised(attack, samples.images, labels, draw))
    if samples.images is not None and attack.name in _BACKDOORS:
        own = stamped(attack.trigger, samples.images)
        if attack.name == "dba":
            own = part_of(attack, samples.images, draw.place)
        return Samples(np.full(len(labels), attack.target), own)
    made: Samples = attack.poison(samples, draw)
    return made
