"""holdout:NAME: another set's training samples, a fifth of them held out in place of its test set.

For choosing learning rates and the like: the real test set stays unseen until the choice is made.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Final

import torch

from fedcore.components.written import registered
from fedcore.data.checks import digest, refuse
from fedcore.data.dataset import DATASETS, Dataset, Source, Split
from fedcore.data.duplicates import duplicate_notes
from fedcore.data.loading import load, source_of
from fedcore.streams import Purpose, stream

_SHARE: Final = 0.2


@DATASETS.register("holdout", "holdout:NAME, a fifth of NAME's training samples as test set")
class Holdout(Source):
    """A view of NAME without its test samples; the draw is fixed, whatever the run's seed."""

    resizes = True  # where NAME does

    def argument_problems(self) -> list[str]:
        """NAME must be a data set, and not itself a hold-out."""
        inner = registered("dataset", self.argument or "")
        if inner in DATASETS and inner != "holdout":
            return []
        return [f"dataset {self.called!r}: write holdout:NAME with the name of a data set"]

    def classes(self, data_dir: Path) -> int | None:
        """As NAME's source knows it."""
        return source_of(self.argument or "").classes(data_dir)

    def load(self, data_dir: Path, image_size: int | None = None) -> Dataset:
        """NAME's training samples, 80 % to train and 20 % to test."""
        refuse(self.argument_problems())
        whole = load(self.argument or "", data_dir, image_size)
        generator = stream(0, Purpose.VALIDATION_SPLIT)
        order = torch.from_numpy(generator.permutation(len(whole.train)))
        held = round(_SHARE * len(whole.train))
        train, test = (
            Split(whole.train.images[part], whole.train.labels[part])
            for part in (order[held:], order[:held])
        )
        # what the whole set has in common with its own test samples is not in use here
        shared = duplicate_notes(whole.train, whole.test, self.called, refuse=False)
        kept = [note for note in whole.notes if note not in shared]
        note = f"test samples are a fifth of the training samples of {whole.name}"
        notes = (*kept, note, *duplicate_notes(train, test, self.called, refuse=False))
        return dataclasses.replace(
            whole, name=self.called, train=train, test=test, digest=digest(train, test), notes=notes
        )
