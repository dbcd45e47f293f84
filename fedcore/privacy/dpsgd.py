"""dpsgd: DP-SGD on the client, through Opacus; protects single training samples.

Abadi et al., "Deep Learning with Differential Privacy", CCS 2016: Poisson-sampled batches, each
sample's gradient clipped to C, noise N(0, (z C)^2 I) on their sum. Opacus computes the gradients
per sample, clips and adds the noise.

Neighbours: one sample replaced by any other. A client's number of samples, which decides its
steps, its sampling rate and its weight at the server, is sent in clear. Under this relation
neighbours have the same; under add-remove the number alone would tell them apart. The account is
that of `fedcore.privacy.sampled`.
"""

from __future__ import annotations

import dataclasses
import importlib
import secrets
import warnings
from collections.abc import Callable
from functools import cache, cached_property, lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from fedcore.components.parameters import param
from fedcore.errors import PrivacyError
from fedcore.models.dropout import StreamDropout
from fedcore.privacy import parameters, sampled
from fedcore.privacy.clipping import sensitivity
from fedcore.privacy.mechanism import PRIVACY, Facts, Mechanism
from fedcore.privacy.noise import NoiseSource, SecureNoise, secret_uniform
from fedcore.privacy.release import trained_slice
from fedcore.privacy.statement import PrivacyStatement
from fedcore.streams import Generator, Purpose, torch_stream

if TYPE_CHECKING:
    from fedcore.exchange.cohort import Cohort, ServerState
    from fedcore.exchange.layout import Layout
    from fedcore.optimizers.solvers import Solver
    from fedcore.scenario import Scenario


def opacus(module: str) -> Any:
    """A module of Opacus. PrivacyError where that is not installed."""
    try:
        return importlib.import_module(f"opacus.{module}")
    except ImportError as error:
        raise PrivacyError(
            f"privacy='dpsgd' needs Opacus ({error}): pip install -c constraints.txt -e "
            "'.[privacy]'"
        ) from error


@PRIVACY.register(
    "dpsgd",
    "DP-SGD on the client through Opacus (Abadi et al. 2016): protects single samples",
)
class DpSgd(Mechanism):
    """The update is private by how it was trained; nothing is added to it afterwards.

    A client's steps are as many as without privacy; each takes a sample with probability
    q = batch_size / samples.
    """

    uses: ClassVar[tuple[str, ...]] = ("opacus", "scipy")
    title: ClassVar[str] = "DP-SGD on the client"
    accountant: ClassVar[str] = sampled.ACCOUNTANT
    unit: ClassVar[str] = "one training sample of a client"
    per_example: ClassVar[bool] = True
    auditable: ClassVar[bool] = True
    noise_parameters: ClassVar[tuple[str, ...]] = ("noise_multiplier", "delta", "epsilon_budget")

    noise_multiplier: float = param(
        "noise of a DP-SGD step over clip_norm", low=0, open_low=True, token="noise"
    )
    delta: float = parameters.delta()
    clip_norm: float = parameters.clip_norm()
    released: str = parameters.released()
    epsilon_budget: float | None = parameters.epsilon_budget()

    def over(self, scenario: Scenario, facts: Facts, noise: NoiseSource | None = None) -> Self:
        """PrivacyError, before anything is trained, where Opacus is not installed."""
        opacus("grad_sample")
        return super().over(scenario, facts, noise)

    def problems(self, scenario: Scenario) -> list[str]:
        """Batch normalisation."""
        if scenario.norm == "batch":
            return [
                "dpsgd cannot train norm='batch', which mixes the samples of a batch so that no "
                "sample has a gradient of its own: set norm='group' or 'none'"
            ]
        return []

    def trains(self, scenario: Scenario) -> bool:
        """Always: the noise is in the steps."""
        return True

    @property
    def relation(self) -> str:
        return "one sample of a client's data replaced by any other (replace-one)"

    @property
    def distance(self) -> float:
        """2 C: of the sum of clipped gradients."""
        return sensitivity("replace", self.clip_norm)

    @cached_property
    def sigma(self) -> float:
        """Z C, on the sum of clipped gradients."""
        return self.noise_multiplier * self.clip_norm

    @property
    def epsilon_nominal(self) -> None:
        """There is none: epsilon follows from the noise."""

    def cost(self, client: int, cohort: object) -> float:
        """Steps, all of one kind."""
        return float(self.run.facts.steps[client])

    def spent(self, client: int, cost: float) -> float:
        """Of ``cost`` steps at the client's sampling rate."""
        rate = sampling_rate(self.run.scenario.batch_size, self.run.facts.samples[client])
        if not cost or not rate:
            return 0.0
        return _epsilon(rate, self.noise_multiplier, int(cost), self.delta)

    def epsilon_once(self) -> float:
        """Of the client that a release costs most."""
        clients = range(len(self.run.facts.samples))
        return max(self.spent(c, self.cost(c, (c,))) for c in clients if self.run.facts.samples[c])

    def _updates(self, state: ServerState, cohort: Cohort, round: int) -> torch.Tensor:
        rows = self.run.release.take(cohort.updates).to(torch.float64)
        broken = ~torch.isfinite(rows).all(dim=1)
        self.run.broken += int(broken.sum())
        rows = torch.where(broken[:, None], 0.0, rows)
        return self.run.release.put(rows, cohort.updates, state.vector)

    def statement(self) -> PrivacyStatement:
        return dataclasses.replace(super().statement(), clipped=None)

    def notes(self) -> tuple[str, ...]:
        """The sampling rates."""
        rates = {
            sampling_rate(self.run.scenario.batch_size, n) for n in self.run.facts.samples if n
        }
        text = f"sampling rates {min(rates):.3g} to {max(rates):.3g}, clip share not counted"
        return (*super().notes(), text)


@lru_cache(maxsize=4096)
def _epsilon(rate: float, noise: float, steps: int, delta: float) -> float:
    return sampled.replace_epsilon(rate, noise, steps, delta)


@cache
def _optimizer_class() -> Any:
    """Opacus's DPOptimizer, whose noise may come from a source of ours."""

    class Optimizer(opacus("optimizers").DPOptimizer):  # type: ignore[misc]
        source: NoiseSource | None = None

        def add_noise(self) -> None:
            super().add_noise()  # which also marks gradients as used
            if self.source is None:
                return
            for parameter in self.params:
                drawn = self.source.normal(parameter.numel(), round=-1, client=-1)
                noise = drawn.to(parameter.device).view_as(parameter)
                noise *= self.noise_multiplier * self.max_grad_norm
                # in float64: the sum is rounded once
                parameter.grad = (parameter.summed_grad + noise).to(parameter)

    return Optimizer


def sampling_rate(batch_size: int, samples: int) -> float:
    """q: the probability with which a step takes a sample."""
    return min(1.0, batch_size / samples) if samples else 0.0


Network = Callable[[torch.Tensor], torch.Tensor]
Loss = Callable[[Network, torch.Tensor, torch.Tensor], torch.Tensor]


def mean_loss(network: Network, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The mean cross-entropy of ``network`` on a batch."""
    return F.cross_entropy(network(images), labels)


class DpSgdSteps:
    """A client's local steps with Opacus, on a model that lives in flat vectors.

    Under ``secret`` noise, the choice of samples and dropout come from the operating system's
    generator, else from the streams of the run, which whoever knows the seed knows too.
    """

    secret = False

    def __init__(self, scenario: Scenario, model: nn.Module, layout: Layout) -> None:
        mechanism = scenario.parts.privacy
        assert isinstance(mechanism, DpSgd)  # what engines build this for
        self.scenario = scenario
        self._trained = trained_slice(mechanism.released, layout)
        self._model = opacus("grad_sample").GradSampleModule(model)
        parameters = dict(model.named_parameters())
        self._pairs = [
            (entry, parameters[entry.name])
            for entry in layout.entries
            if entry.name in parameters and parameters[entry.name].requires_grad
        ]
        self._optimizer = _optimizer_class()(
            torch.optim.SGD([p for _, p in self._pairs], lr=1.0),  # never steps: a Solver does
            noise_multiplier=mechanism.noise_multiplier,
            max_grad_norm=mechanism.clip_norm,
            expected_batch_size=1,
        )

    def work(
        self,
        *,
        noise: tuple[int, int, int],
        steps: int,
        images: Callable[[torch.Tensor], torch.Tensor],
        loss: Loss = mean_loss,
        labels: torch.Tensor,
        order: Generator,
        solver: Solver,
        weights: torch.Tensor,
        gradient: torch.Tensor,
    ) -> None:
        """Take ``steps`` steps on samples 0 ... len(labels) - 1, whose ``images`` are a function.

        ``loss`` of (network, images, labels) is the mean cross-entropy, which may be noted.
        ``noise`` is (seed, round, client). ``weights`` is the trained part of the vector, which
        ``solver`` moves; ``gradient`` [P] is scratch.
        """
        seed, round, client = noise
        optimizer, device = self._optimizer, labels.device
        rate = sampling_rate(self.scenario.batch_size, len(labels))
        optimizer.expected_batch_size = rate * len(labels)
        optimizer.source = SecureNoise() if self.secret else None
        for module in self._model.modules():
            if self.secret and isinstance(module, StreamDropout):
                generator = torch.Generator(device)
                generator.manual_seed(secrets.randbits(64))
                module.seed(generator)
        optimizer.generator = torch_stream(
            seed, Purpose.PRIVACY_NOISE, round=round, client=client, device=device
        )
        for _ in range(steps):
            drawn = secret_uniform(len(labels)) if self.secret else order.random(len(labels))
            chosen = torch.from_numpy(np.flatnonzero(drawn < rate)).to(device)
            optimizer.zero_grad(set_to_none=True)
            self._gradients(images(chosen), labels[chosen], loss)
            optimizer.pre_step()
            for entry, parameter in self._pairs:
                assert parameter.grad is not None
                entry.view(gradient).copy_(parameter.grad)
            solver.step(weights, gradient[self._trained])

    def _gradients(self, images: torch.Tensor, labels: torch.Tensor, loss: Loss) -> None:
        """Leave each sample's gradient where Opacus looks for it; of none: the noise is alone."""
        if not len(labels):
            for _, parameter in self._pairs:
                parameter.grad_sample = parameter.new_zeros(0, *parameter.shape)  # type: ignore[attr-defined]
            return
        with warnings.catch_warnings():
            # Opacus hooks the first layer, whose inputs are images: they need no gradient
            warnings.filterwarnings("ignore", message="Full backward hook is firing")
            loss(self._model, images, labels).backward()  # type: ignore[no-untyped-call]
