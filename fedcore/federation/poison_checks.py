"""What an attack on data must give, and change: errors of attacks that would do nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fedcore.attacks.attack import DataAttack, Images, Samples
from fedcore.errors import AttackError
from fedcore.federation.poisoned import ClientPoison
from fedcore.scenario import Scenario
from fedcore.streams import Indices


def require_samples(
    scenario: Scenario,
    attack: DataAttack,
    poisoned: Samples,
    labels: Indices,
    pixels: Images | None,
    num_classes: int,
) -> None:
    """`AttackError` unless ``poisoned`` are as many samples as the attack got, in their form."""
    given = np.asarray(poisoned.labels)
    if given.shape != labels.shape or given.dtype != np.int64:
        what = f"{len(labels)} int64 labels, got {given.dtype} of shape {given.shape}"
    elif len(given) and not 0 <= int(given.min()) <= int(given.max()) < num_classes:
        what = f"labels in [0, {num_classes - 1}], got {int(given.min())} to {int(given.max())}"
    elif (poisoned.images is None) != (pixels is None):
        what = f"images where it changes_images={attack.changes_images}, and only there"
    elif pixels is not None and poisoned.images is not None:
        form = poisoned.images.shape, poisoned.images.dtype
        if form == (pixels.shape, pixels.dtype):
            return
        what = f"uint8 images of shape {pixels.shape}, got {form[1]} of shape {form[0]}"
    else:
        return
    raise AttackError(f"attack {scenario.attack!r} must give {what}: correct its poison method")


def require_effect(scenario: Scenario, attack: DataAttack, poisons: Sequence[ClientPoison]) -> None:
    """`AttackError` unless the attack changed a label or an image."""
    name, ratio, clients = scenario.attack, attack.poison_ratio, len(poisons)
    most = max((poison.eligible for poison in poisons), default=0)
    poisoned = sum(poison.poisoned for poison in poisons)
    if most == 0:
        raise AttackError(
            f"attack {name!r} found no sample that it may poison on any of {clients} malicious "
            "clients: raise malicious_fraction, choose another class, or change the seed"
        )
    if poisoned == 0:
        raise AttackError(
            f"attack {name!r} with poison_ratio={ratio} rounds to 0 samples on every one of "
            f"{clients} malicious clients (the largest has {most} samples to poison): raise "
            "poison_ratio or give clients more samples"
        )
    if attack.needs_scores or any(poison.images_changed for poison in poisons):
        return  # labels of scores are drawn when a round begins
    if attack.changes_images:
        raise AttackError(
            f"attack {name!r} selected {poisoned} samples on {clients} malicious clients and "
            "changed none of their images: choose another attack or data set"
        )
    if sum(poison.changed for poison in poisons) == 0:
        raise AttackError(
            f"attack {name!r} selected {poisoned} samples on {clients} malicious clients and "
            "changed none of their labels (each maps to itself): choose another attack or partition"
        )
