"""A mod in the place of Flower's LocalDpMod: clipping, noise and account that hold.

app = ClientApp(mods=[PrivateUpdates(epsilon=8.0, clip_norm=1.0)])
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord

from fedcore.errors import PrivacyError
from fedcore.exchange.layout import Kind, Layout, Slice
from fedcore.privacy import gaussian
from fedcore.privacy.clipping import clip_rows, sensitivity
from fedcore.privacy.noise import NoiseSource, SecureNoise
from fedcore.privacy.release import Release

#: Names of BatchNorm's statistics, by which buffers are told from parameters.
BUFFERS = ("running_mean", "running_var", "num_batches_tracked")

_ACCOUNT = "fedcore.privacy"
_OWN = "fedcore.privacy.buffers"


class PrivateUpdates:
    """Each training reply becomes (epsilon, delta)-DP for the client's whole data.

    The update of the trainable arrays is clipped to ``clip_norm`` and gets Gaussian noise, by the
    analytic calibration, of the sensitivity that ``neighbours`` (replace or zero-out) and the clip
    norm imply. ``released``: whole, or head (the last linear layer; all else is sent back as it
    came). ``buffers`` (arrays named as in `BUFFERS`): local (sent back as they came; the
    client trains on with its own), frozen (sent back as they came) or released (clipped and noised
    too; integers in clear).

    Participations are counted in the node's state; one that would exceed ``epsilon_budget`` is
    refused with the statement, before training. Noise is the operating system's unless ``noise``
    says otherwise. Metrics, sample counts among them, pass in clear.

    Raises PrivacyError listing every problem with the arguments.
    """

    def __init__(
        self,
        *,
        epsilon: float,
        delta: float = 1e-5,
        clip_norm: float = 1.0,
        neighbours: str = "replace",
        released: str = "whole",
        buffers: str = "local",
        epsilon_budget: float | None = None,
        noise: NoiseSource | None = None,
    ) -> None:
        self.epsilon, self.delta, self.clip_norm = epsilon, delta, clip_norm
        self.neighbours, self.released, self.buffers = neighbours, released, buffers
        self.epsilon_budget = epsilon_budget
        self.noise = noise or SecureNoise()
        problems = [
            f"{name} must be {rule}, got {value!r}"
            for name, value, rule, holds in (
                ("epsilon", epsilon, "finite and > 0", 0 < epsilon < math.inf),
                ("delta", delta, "in (0, 1)", 0 < delta < 1),
                ("clip_norm", clip_norm, "finite and > 0", 0 < clip_norm < math.inf),
                (
                    "neighbours",
                    neighbours,
                    "replace or zero-out",
                    neighbours in ("replace", "zero-out"),
                ),
                ("released", released, "whole or head", released in ("whole", "head")),
                (
                    "buffers",
                    buffers,
                    "local, frozen or released",
                    buffers in ("local", "frozen", "released"),
                ),
                (
                    "epsilon_budget",
                    epsilon_budget,
                    ">= epsilon",
                    epsilon_budget is None or epsilon_budget >= epsilon,
                ),
            )
            if not holds
        ]
        if problems:
            raise PrivacyError("; ".join(problems))
        self.multiplier = gaussian.noise_multiplier(epsilon, delta)
        self.sigma = self.multiplier * sensitivity(neighbours, clip_norm)

    def total(self, participations: int) -> float:
        """Epsilon of a client after so many participations."""
        return gaussian.epsilon_of(math.sqrt(participations) / self.multiplier, self.delta)

    def statement(self, participations: int) -> str:
        """What was promised, after so many participations of this client."""
        return (
            f"{participations} releases, each ({self.epsilon:g}, {self.delta:g})-DP for the "
            f"client's whole data ({self.neighbours}) against the server: epsilon "
            f"{self.total(participations):.4g} in all; clip norm {self.clip_norm:g}, sigma "
            f"{self.sigma:.6g}, released {self.released}, buffers {self.buffers}, "
            f"{gaussian.ACCOUNTANT}, noise: {self.noise.description}; metrics in clear"
        )

    def __call__(
        self, message: Message, context: Context, call_next: Callable[[Message, Context], Message]
    ) -> Message:
        """Train, then make the reply private. Other messages pass unchanged.

        Raises PrivacyError, which the server receives as an error reply, where the budget is
        spent or the arrays are not the server's.
        """
        if not message.metadata.message_type.startswith("train"):
            return call_next(message, context)
        made = self._made(context)
        if self.epsilon_budget is not None and self.total(made + 1) > self.epsilon_budget:
            raise PrivacyError(
                f"one more participation would exceed epsilon_budget={self.epsilon_budget:g}. "
                f"So far: {self.statement(made)}"
            )
        (key,) = _single(message)
        sent = message.content.array_records[key]
        if self.buffers == "local" and _OWN in context.state.array_records:
            own = context.state.array_records[_OWN]
            message.content[key] = ArrayRecord({n: own.get(n, array) for n, array in sent.items()})
        reply = call_next(message, context)
        if reply.has_error():
            return reply
        (name,) = _single(reply)
        trained = reply.content.array_records[name]
        if list(trained) != list(sent):
            raise PrivacyError("the reply's arrays have other names than the server's")
        # before the release: a crash in between may count one too many, never one too few
        context.state[_ACCOUNT] = MetricRecord({"participations": made + 1})
        reply.content[name] = self.private(sent, trained, client=made)
        if self.buffers == "local":
            kept = {n: array for n, array in trained.items() if _is_buffer(n)}
            context.state[_OWN] = ArrayRecord(kept)
        return reply

    def private(self, before: ArrayRecord, after: ArrayRecord, *, client: int = 0) -> ArrayRecord:
        """The release of a client that trained ``before`` into ``after``.

        A pure function but for the noise, which may tell ``client`` numbers apart. Raises
        PrivacyError for ``released='head'`` without a linear layer.
        """
        old = {name: torch.from_numpy(np.array(array.numpy())) for name, array in before.items()}
        new = {name: torch.from_numpy(np.array(array.numpy())) for name, array in after.items()}
        layout = layout_of(old)
        start, counters = layout.flatten(old)
        end, counted = layout.flatten(new)
        release = Release.of(layout, self.released, self.buffers)
        rows, _, _ = clip_rows(release.take((end - start)[None]), self.clip_norm)
        rows += self.sigma * self.noise.normal(rows.shape[1], round=0, client=client)
        vector = start + release.put(rows, start[None], start)[0]
        state = layout.state_dict(vector, counted if release.buffers else counters)
        return ArrayRecord(
            {
                name: Array(state[name].contiguous().numpy().astype(before[name].dtype))
                for name in old
            }
        )

    @staticmethod
    def _made(context: Context) -> int:
        records = context.state.metric_records
        value: Any = records[_ACCOUNT]["participations"] if _ACCOUNT in records else 0
        return int(value)


def layout_of(state: dict[str, torch.Tensor]) -> Layout:
    """The layout of arrays by their names: parameters, then float buffers, integers beside."""
    floats = [n for n in state if state[n].is_floating_point()]
    order = [n for n in floats if not _is_buffer(n)] + [n for n in floats if _is_buffer(n)]
    order += [n for n in state if not state[n].is_floating_point()]
    entries, ends = [], {True: 0, False: 0}
    for name in order:
        tensor = state[name]
        is_float = tensor.is_floating_point()
        kind = Kind.BUFFER if _is_buffer(name) else Kind.PARAMETER
        entries.append(
            Slice(
                name, tuple(tensor.shape), kind if is_float else Kind.COUNTER, ends[is_float], False
            )
        )
        ends[is_float] += tensor.numel()
    return Layout(tuple(entries))


def _is_buffer(name: str) -> bool:
    return name.rpartition(".")[2] in BUFFERS


def _single(message: Message) -> list[str]:
    keys = list(message.content.array_records)
    if len(keys) != 1:
        raise PrivacyError(f"a training message must hold one ArrayRecord, got {len(keys)}")
    return keys
