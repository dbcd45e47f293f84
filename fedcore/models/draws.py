"""Networks of other packages that draw random numbers in their forward, such as by F.dropout.

They draw from global generators, so that a client's result would depend on whatever drew before
it. Here each forward pass of such a network finds torch's, numpy's and Python's global generators
seeded from the run's own stream, and leaves them as they were. fedcore's own networks draw through
`fedcore.models.dropout.StreamDropout` alone and need none of this.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
import torch
from torch import nn

from fedcore.errors import ModelError
from fedcore.models.dropout import StreamDropout
from fedcore.streams import Purpose, torch_seed

_WORD: Final = 2**64
_PASSES: Final = 4  # of the same forward in the same state: a rare draw of its own shows late
_SAMPLES: Final = 4
_NAME: Final = "fedcore_draws"


class SeededForward(StreamDropout):
    """A part of a network that changes nothing in it but what its forward draws.

    In training each pass after `seed` has numbers of its own, derived from that generator's seed.
    In evaluation every pass has the same, so that a score does not depend on who computes it.
    """

    def __init__(self, evaluation: int) -> None:
        super().__init__(0.0)
        self._evaluation = evaluation
        self._base: int | None = None
        self._passes = 0
        self._held: list[contextlib.ExitStack] = []

    def seed(self, generator: torch.Generator) -> None:
        """Derive what the next passes draw from the seed of ``generator``."""
        self._base, self._passes = generator.initial_seed(), 0

    def before(self, network: nn.Module, inputs: tuple[Any, ...]) -> None:
        """A pre-forward hook of the whole network."""
        if network.training:
            if self._base is None:
                raise RuntimeError("SeededForward has no seed to draw from: call seed() first")
            self._passes += 1
            # apart from the masks of StreamDropout, which start from the same seed
            word = _mixed(self._base + self._passes * 0x9E3779B97F4A7C15)
        else:
            word = self._evaluation
        first = next((x for x in inputs if isinstance(x, torch.Tensor)), None)
        stack = contextlib.ExitStack()
        stack.enter_context(drawing_from(word, None if first is None else first.device))
        self._held.append(stack)

    def after(self, *_: Any) -> None:
        """A forward hook of the whole network, called after errors as well."""
        if self._held:
            self._held.pop().close()


def seed_forward(network: nn.Module, seed: int) -> SeededForward:
    """Have ``network``, in place, draw in its forward from streams of run ``seed``.

    Its `StreamDropout`-like part is found, and seeded for each client, as dropout layers are.
    """
    part = SeededForward(torch_seed(seed, Purpose.DROPOUT))
    network.add_module(_NAME, part)  # no parameter, no buffer: layout and weights stay
    network.register_forward_pre_hook(part.before)
    network.register_forward_hook(part.after, always_call=True)
    return part


@contextlib.contextmanager
def drawing_from(word: int, device: torch.device | None = None) -> Iterator[None]:
    """Global generators of torch, numpy and Python start from ``word``; restored afterwards.

    Of torch that of the CPU, and that of ``device`` if it is a CUDA device.
    """
    generators = [torch.default_generator]
    if device is not None and device.type == "cuda":
        place = torch.cuda.current_device() if device.index is None else device.index
        generators.append(torch.cuda.default_generators[place])
    states = [generator.get_state() for generator in generators]
    # numpy's legacy functions are what a stranger's forward may call
    python, legacy = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        for generator in generators:
            generator.manual_seed(word % 2**63)
        random.seed(word)
        np.random.seed(word % 2**32)  # noqa: NPY002
        yield
    finally:
        for generator, state in zip(generators, states, strict=True):
            generator.set_state(state)
        random.setstate(python)
        np.random.set_state(legacy)  # noqa: NPY002


@contextlib.contextmanager
def refuse_draws(reason: str) -> Iterator[None]:
    """ModelError, saying ``reason``, if anything within draws from a global generator."""
    before = _global_states()
    yield
    if _global_states() != before:
        raise ModelError(reason)


def _global_states() -> tuple[Any, ...]:
    generators = [torch.default_generator]
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        generators += torch.cuda.default_generators
    states = [generator.get_state().numpy().tobytes() for generator in generators]
    legacy: Any = np.random.get_state()  # noqa: NPY002
    return *states, random.getstate(), legacy[1].tobytes(), legacy[2:]


def require_repeatable(
    name: str,
    build: Callable[[], nn.Module],
    channels: int,
    size: tuple[int, int],
    num_classes: int | None = None,
) -> None:
    """ModelError where the network of `build` gives other logits for the same images and weights.

    Also where they are not [images, ``num_classes``], unless that is None.

    That is so if its forward draws from a generator of its own, which nobody seeds for each client,
    or reads a clock or a counter. Compares passes in training and in evaluation, bit for bit.
    """
    network = build()
    part = seed_forward(network, 0)
    generator = torch.Generator().manual_seed(0)
    images = torch.rand((_SAMPLES, channels, *size), generator=generator)
    tensors = [*network.parameters(), *network.buffers()]
    saved = [tensor.detach().clone() for tensor in tensors]
    for training in (True, False):
        network.train(training)
        first = None
        for _ in range(_PASSES):
            part.seed(generator)
            with torch.no_grad():
                for tensor, value in zip(tensors, saved, strict=True):
                    tensor.copy_(value)
                try:
                    logits = network(images)
                except Exception:  # the run, on images of its own, says what is wrong
                    return
            form = (_SAMPLES, num_classes)
            if num_classes is not None and tuple(logits.shape) != form:
                raise ModelError(
                    f"model {name!r} must give logits of shape {form} for {_SAMPLES} images, got "
                    f"{tuple(logits.shape)}: build it with num_classes outputs"
                )
            bits = logits.detach().clone().contiguous().view(torch.uint8)
            if first is not None and not torch.equal(first, bits):
                raise ModelError(
                    f"model {name!r}: equal images and weights must give equal logits, but they "
                    f"differ from pass to pass in {'training' if training else 'evaluation'}: its "
                    "forward draws from a generator of its own, or reads a clock or a counter; "
                    "draw from torch's, numpy's or Python's global generators, which are seeded "
                    "for each client, or use nn.Dropout"
                )
            first = bits


def _mixed(word: int) -> int:
    """SplitMix64 (Steele, Lea and Flood 2014): neighbouring words become unlike ones."""
    word %= _WORD
    word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9 % _WORD
    word = (word ^ (word >> 27)) * 0x94D049BB133111EB % _WORD
    return word ^ (word >> 31)
