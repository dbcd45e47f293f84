"""Witness of training: notes what enters the loss and what the solver does, as it happens.

An image is known by one number, its product with a fixed random vector, taken from the very tensor
that the network is given. What it should be comes from the data set, loaded and transformed here
once more, so that no other part of a run vouches for itself. A round costs at most 2 % more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from fedcore.engine.marks import Known, Marks, known, known_pool, known_probe, marks_of
from fedcore.engine.solverlog import SolverLog, watches
from fedcore.exchange.evidence import FIELDS, Row, Scored, row_of
from fedcore.exchange.fingerprints import bits, in_order, labelled, long, signed, total

if TYPE_CHECKING:
    from fedcore.federation.federation import Federation
    from fedcore.optimizers.solvers import Solver

_RULES: Final = slice(FIELDS.index("bent"), FIELDS.index("reach") + 1)
_UNMARKED: Final = 1 << 20  # values of images that may wait for their marks
#: How far a mark may be from its image's. Marks of different images lie about 1 apart.
_ROUNDING: Final = {torch.bfloat16: 5e-2}
_TOLERANCE: Final = 2e-4
#: Within this share of the tolerance a strange image is taken for the one that it resembles.
_LIKENESS: Final = 0.1


class Witness:
    """Notes the round of one client after the other. ``dtype`` is that of the network's input."""

    def __init__(
        self,
        federation: Federation,
        device: torch.device,
        dtype: torch.dtype,
        images: Known | None = None,
    ) -> None:
        """``images`` are what may enter the loss; None: the federation's."""
        self.known = images or known_pool(federation, device)
        self._federation, self._device = federation, device
        self._probe: Known | None = None
        self._vector = self.known.vector.to(device)
        self._tolerance = _ROUNDING.get(dtype, _TOLERANCE)
        self.solver_log = SolverLog(federation.scenario)
        self.begin()

    def begin(self, round: int = 1, client: int = 0) -> None:
        """Forget what has been noted: ``client`` starts its work in ``round``."""
        self.solver_log.watching = watches(round, client)
        self._claims: list[torch.Tensor] = []
        self._begun: list[int] = []
        self._unmarked: list[torch.Tensor] = []
        self._pixels = 0
        self._marks: list[torch.Tensor] = []
        self._labels: list[torch.Tensor] = []

    def watched(self, solver: Solver) -> Solver:
        """``solver``, whose steps are noted."""
        return self.solver_log.watched(solver)

    def claim(self, samples: torch.Tensor) -> None:
        """Note that the next images are to be the training ``samples`` [n], in this order."""
        self._mark()
        self._claims.append(samples)
        self._begun.append(len(self._labels))

    def loss(
        self, network: Callable[[torch.Tensor], torch.Tensor], images: torch.Tensor,
        labels: torch.Tensor,
    ) -> torch.Tensor:  # fmt: skip
        """The mean cross-entropy of ``network`` on a batch, which is noted."""
        self._unmarked.append(images)
        self._labels.append(labels)
        self._pixels += images.numel()
        if self._pixels > _UNMARKED:
            self._mark()
        return F.cross_entropy(network(images), labels)

    def _mark(self) -> None:
        """Make the marks of the images that have none, at once where they lie one after another."""
        images, self._unmarked, self._pixels = self._unmarked, [], 0
        if len(images) > 1 and (whole := together(images)) is not None:
            images = [whole]
        self._marks += [marks_of(some, self._vector) for some in images]

    def noted(self, rules: tuple[float, ...] = ()) -> Notes:
        """What has been noted of a client since `begin`, to be worked out later by `row`.

        ``rules`` is what was seen of local rules, see `fedcore.engine.local_rules`.
        Clients are worked out together: each alone would find the caches full of its training.
        """
        self._mark()
        log = self.solver_log.noted()
        return Notes(self._marks, self._labels, self._claims, self._begun, log, rules)

    def row(self, notes: Notes) -> Row:
        """What ``notes`` say of a client, [WIDTH]; ``model`` is left at 0."""
        marks = joined(notes.marks, torch.float32)
        labels, claims = joined(notes.labels, torch.int64), joined(notes.claims, torch.int64)
        if len(marks) != len(claims):
            marks, labels, claims = aligned(notes, marks, labels)
        log = notes.log
        fit, moved = log.fit(), log.moved()
        row = self.row_of(marks, labels, claims, steps=log.steps, fit=fit, moved=moved)
        if notes.rules:
            row[_RULES] = [bits(value) for value in notes.rules]
        return row

    def row_of(
        self, marks: Marks, labels: Row, claims: Row, *, steps: int,
        fit: tuple[float, float, float], moved: float, model: int = 0,
    ) -> Row:  # fmt: skip
        """The row of images and labels, see `of_images`, and of the solver's steps, [WIDTH]."""
        rate, blur, misfit, far = map(bits, (*fit, moved))
        noted = self.of_images(marks, labels, claims)
        noted |= {"steps": steps, "rate": rate, "blur": blur, "misfit": misfit}
        noted |= {"moved": far, "model": model}
        return row_of(noted)

    def of_images(self, marks: Marks, labels: Row, claims: Row) -> dict[str, int]:
        """The fields of a row that images and labels give.

        ``claims`` are the training samples that the images were to be; where there are fewer of
        them than images, the images beyond are strangers.
        """
        known, noted = self.known, {"images": len(marks)}
        if len(claims) > len(marks):
            claims = claims[: len(marks)]
        off = np.abs(marks[: len(claims)] - known.train[claims]) > self._tolerance
        strange = marks[len(claims) :]
        if off.any():
            strange = np.concatenate([marks[: len(claims)][off], strange])
        if len(strange):
            noted["strangers"] = len(strange)
            noted["scored"] = int(near(strange, known.test, self._tolerance).sum())
        if known.twice is not None:
            stand = claims if known.origins is None else known.origins[claims]
            noted["leaked"] = int(known.twice[stand].sum())
        pixels, given = known.content[claims], labels[: len(claims)]
        noted["changed"] = int(np.count_nonzero(given != known.train_labels[claims]))
        if len(strange):  # such an image has none of the hashes that it should have
            pixels = np.where(off, ~pixels, pixels)
        hashes = pixels
        if known.origins is not None:  # a poisoned copy counts as the sample that it stands for
            noted["copies"] = int(np.count_nonzero((claims >= known.samples) & ~off))
            hashes = known.content[known.origins[claims]]
            hashes = np.where(off, ~hashes, hashes)
        noted["samples"] = signed(total(hashes))
        noted["labels"] = signed(total(labelled(pixels, given)))
        noted["order"] = signed(in_order(hashes))
        return noted

    def eye(self, probe: bool = False) -> Eye:
        """What notes one evaluation, on the test split or on the ``probe`` set."""
        if not probe:
            return Eye(self.known, self._vector)
        if self._probe is None:
            self._probe = known_probe(self._federation, self._device)
        return Eye(self._probe, self._vector)


@dataclass(frozen=True)
class Notes:
    """What was noted of one client: tensors in their order, ``begun`` batches before each claim."""

    marks: list[torch.Tensor]
    labels: list[torch.Tensor]
    claims: list[torch.Tensor]
    begun: list[int]
    log: SolverLog
    rules: tuple[float, ...] = ()


def aligned(notes: Notes, marks: Marks, labels: Row) -> tuple[Marks, Row, Row]:
    """Marks, labels and claims, where fewer or more images came than were claimed.

    Each claim is for the images up to the next one; those beyond any come last.
    """
    ends = np.cumsum([0, *map(len, notes.labels)])
    begins = [int(ends[place]) for place in notes.begun]
    kept, claims = [np.arange(0)], []
    beyond = [np.arange(begins[0] if begins else len(marks))]
    for begin, end, claim in zip(begins, [*begins[1:], len(marks)], notes.claims, strict=True):
        taken = min(end - begin, len(claim))
        kept.append(np.arange(begin, begin + taken))
        beyond.append(np.arange(begin + taken, end))
        claims.append(claim[:taken])
    order = np.concatenate([*kept, *beyond])
    return marks[order], labels[order], joined(claims, torch.int64)


def together(images: list[torch.Tensor]) -> torch.Tensor | None:
    """``images`` [n, c, h, w] as one view, if they lie one after another as [n, h, w, c]."""
    first = images[0]
    if not first.is_contiguous(memory_format=torch.channels_last):
        return None
    count, place = 0, first.data_ptr()
    size = first.element_size() * first[:1].numel()
    for some in images:
        if some.data_ptr() != place + count * size or some.stride() != first.stride():
            return None
        count += len(some)
    if (
        first.untyped_storage().nbytes()
        < first.storage_offset() * first.element_size() + count * size
    ):
        return None  # another storage begins where this one ends
    return first.as_strided((count, *first.shape[1:]), first.stride())


class Eye:
    """Notes the images and labels of one evaluation, in the order in which they are scored."""

    def __init__(self, known: Known, vector: torch.Tensor) -> None:
        self.known, self._vector = known, vector
        self._marks: list[torch.Tensor] = []
        self._labels: list[torch.Tensor] = []

    @classmethod
    def of(cls, federation: Federation, device: torch.device, probe: bool = False) -> Eye:
        """What notes an evaluation of a model of ``federation``, on the test or the probe set."""
        images = known_probe(federation, device) if probe else known(federation, device)
        return cls(images, images.vector.to(device))

    def see(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        """Note a batch: what the network is given and what its answers are held against."""
        self._marks.append(marks_of(images, self._vector))
        self._labels.append(labels)

    def noted(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(marks, labels) so far, [n] each, on the CPU."""
        return torch.cat(self._marks).cpu(), torch.cat(self._labels).cpu()

    def scored(self) -> Scored:
        """What has been noted, compared with the test split."""
        return scored(self.known, *(noted.numpy() for noted in self.noted()))


def scored(known: Known, marks: Marks, labels: Row) -> Scored:
    """What was scored, of ``marks`` and ``labels`` [n] each in their order."""
    common = min(len(marks), len(known.test))
    off = np.abs(marks[:common] - known.test[:common]) > _TOLERANCE
    strange = np.concatenate([marks[:common][off], marks[common:]])
    hashes = np.where(off, ~known.test_content[:common], known.test_content[:common])
    digest = int(total(labelled(hashes, labels[:common]))) + len(marks)
    return Scored(
        rounds=1,
        images=len(marks),
        digest=long(digest),
        strangers=len(strange),
        training=int(near(strange, known.train, _TOLERANCE).sum()) if len(strange) else 0,
        labels=int(np.count_nonzero(labels[:common] != known.test_labels[:common])),
    )


def joined(noted: list[torch.Tensor], dtype: torch.dtype) -> npt.NDArray[Any]:
    """``noted`` one after the other, on the CPU."""
    if not noted:
        return torch.empty(0, dtype=dtype).numpy()
    whole = noted[0] if len(noted) == 1 else torch.cat(noted)
    return whole.cpu().numpy()


def near(marks: Marks, table: Marks, tolerance: float) -> npt.NDArray[np.bool_]:
    """Which of ``marks`` [n] are as good as equal to one of ``table``, [n]; some are by chance."""
    ordered = np.sort(table)
    place = np.searchsorted(ordered, marks)
    above = ordered[np.minimum(place, len(ordered) - 1)]
    below = ordered[np.maximum(place - 1, 0)]
    close: npt.NDArray[np.bool_] = (
        np.minimum(np.abs(marks - above), np.abs(marks - below)) <= _LIKENESS * tolerance
    )
    return close
