"""Scoring a model on the central test set."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn

from fedcore.data.dataset import Split
from fedcore.data.transforms import Transform
from fedcore.exchange.evidence import Scored

if TYPE_CHECKING:
    from fedcore.engine.witness import Eye
    from fedcore.federation.federation import Federation

# Pixels in a batch: large enough to fill a device, small enough for its caches. Of 256 images of 28
# pixels a small CNN's maps leave a core's caches (mnist5k: a third slower); of 64 a deep model pays
# for the start of each layer (MobileNetV2: a quarter slower).
_BATCH_PIXELS = {"cpu": 128 * 28 * 28, "cuda": 4096 * 32 * 32}
_SMALLEST = 4  # images


@dataclass(frozen=True)
class Score:
    """Test results: shares in [0, 1], mean cross-entropy ``loss``, ``recall`` per class.

    ``loss`` is NaN where it is not finite. ``recall`` is None for a class without test samples;
    ``asr`` is the attack success rate P(predicted = target | true = source) where an attack defines
    it, or the share of a probe set that is taken for its labels. ``seen`` and ``probed`` are
    evidence of what was scored, None where nobody noted it.
    """

    accuracy: float
    loss: float
    recall: tuple[float | None, ...]
    asr: float | None
    seen: Scored | None = field(default=None, compare=False)
    probed: Scored | None = field(default=None, compare=False)


def test_batches(test: Split, transform: Transform) -> list[slice]:
    """The batches in which ``test`` is scored: fixed, as the bits of a sum depend on them."""
    height, width = transform.size
    size = max(_SMALLEST, _BATCH_PIXELS.get(test.labels.device.type, 1 << 18) // (height * width))
    return [slice(start, start + size) for start in range(0, len(test), size)]


@torch.no_grad()
def score_batch(
    model: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    num_classes: int,
    eye: Eye | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """(sum of the losses, float64; confusion matrix [true, predicted], int64) of one batch.

    ``images`` are transformed; ``model`` is in evaluation mode. ``eye`` notes what is scored.
    """
    if eye is not None:
        eye.see(images, labels)
    logits = model(images)
    loss = F.cross_entropy(logits, labels, reduction="sum").to(torch.float64)
    cells = torch.bincount(labels * num_classes + logits.argmax(dim=1), minlength=num_classes**2)
    return loss, cells.view(num_classes, num_classes)


def evaluate(
    model: nn.Module,
    test: Split,
    transform: Transform,
    num_classes: int,
    success_classes: tuple[int, int] | None,
    dtype: torch.dtype = torch.float32,
    eye: Eye | None = None,
) -> Score:
    """Score ``model``, of type ``dtype``, on ``test``; it is left in evaluation mode.

    ``eye`` notes what is scored, for `Score.seen`.
    """
    model.eval()
    device = test.labels.device
    loss = torch.zeros((), dtype=torch.float64, device=device)
    confusion = torch.zeros((num_classes, num_classes), dtype=torch.int64, device=device)
    for batch in test_batches(test, transform):
        images = transform(test.images[batch]).to(dtype)
        more, cells = score_batch(model, images, test.labels[batch], num_classes, eye)
        loss += more
        confusion += cells
    score = summarise(confusion, float(loss), success_classes)
    return score if eye is None else replace(score, seen=eye.scored())


def with_success(
    score: Score,
    model: nn.Module,
    federation: Federation,
    dtype: torch.dtype,
    eye: Eye | None = None,
) -> Score:
    """``score`` with the success rate on the probe set of ``federation``; itself without one."""
    probe = federation.probed
    if probe is None:
        return score
    found = evaluate(
        model, probe, federation.transform, federation.dataset.num_classes, None, dtype, eye
    )
    return replace(score, asr=found.accuracy, probed=found.seen)


def summarise(
    confusion: torch.Tensor, loss_sum: float, success_classes: tuple[int, int] | None
) -> Score:
    """A `Score` from the confusion matrix [true, predicted] and the sum of the losses."""
    counts = confusion.cpu().tolist()
    totals = [sum(row) for row in counts]
    samples = sum(totals)
    hits = [counts[c][c] for c in range(len(counts))]
    recall = tuple(hit / n if n else None for hit, n in zip(hits, totals, strict=True))
    asr = None
    if success_classes is not None and totals[success_classes[0]]:
        source, target = success_classes
        asr = counts[source][target] / totals[source]
    loss = loss_sum / samples if math.isfinite(loss_sum) else math.nan
    return Score(sum(hits) / samples, loss, recall, asr)
