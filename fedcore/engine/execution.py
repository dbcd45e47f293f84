"""How a run is computed: engine, device, precision, processes. What is computed is the scenario."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from fedcore.cores import DEVICES, cores
from fedcore.engine.interface import ENGINES
from fedcore.engine.local_rules import needs_reference_engine
from fedcore.engine.parallel import can_fork
from fedcore.errors import FedcoreError
from fedcore.lifeline import LONGEST_TIMEOUT, WORKER_TIMEOUT

if TYPE_CHECKING:
    from fedcore.scenario import Scenario

Forward = Callable[[torch.Tensor], torch.Tensor]
#: Type of the weights by precision. tf32: products on a GPU round their factors to 10 bits;
#: bfloat16: forward and backward passes compute in it, weights, updates and scores stay float32.
PRECISIONS = {
    "float32": torch.float32,
    "float64": torch.float64,
    "tf32": torch.float32,
    "bfloat16": torch.float32,
}


@dataclass(frozen=True)
class Execution:
    """Choices that cost or save time. Raises FedcoreError for an unknown name.

    ``engine``: a name of `ENGINES`, or auto; ``device``: auto (CUDA where there is one), cpu or
    cuda; ``precision``: a name of `PRECISIONS`; ``processes``: how many train one cohort on the
    CPU, which changes no bit of the result. More than one are forked; see
    `fedcore.engine.parallel`. Where many runs are made at once, one process a run is faster. One of
    several that gives no sign of life for ``worker_timeout`` seconds is taken to hang.
    """

    engine: str = "auto"
    device: str = "auto"
    precision: str = "float32"
    processes: int = 1
    worker_timeout: float = WORKER_TIMEOUT

    def __post_init__(self) -> None:
        if self.engine != "auto":
            ENGINES.entry(self.engine)
        choose_device(self.device)
        if self.precision not in PRECISIONS:
            known = ", ".join(PRECISIONS)
            raise FedcoreError(f"precision must be one of {known}, got {self.precision!r}")
        if self.precision == "tf32" and self.torch_device.type != "cuda":
            raise FedcoreError("precision 'tf32' exists on CUDA devices only: use float32")
        if self.precision == "bfloat16" and self.torch_device.type != "cuda" and not self.stacks:
            raise FedcoreError(
                f"precision 'bfloat16' of engine {self.engine_name!r} exists on CUDA devices only, "
                "as a CPU computes float32 faster: leave precision at that"
            )
        if self.records_steps and self.torch_device.type != "cuda":
            raise FedcoreError(f"engine {self.engine!r} needs a CUDA device: use 'stacked'")
        if self.processes < 1:
            raise FedcoreError(f"processes must be >= 1, got {self.processes}")
        if not 0 < self.worker_timeout <= LONGEST_TIMEOUT:
            raise FedcoreError(
                f"worker_timeout must be above 0 and at most {LONGEST_TIMEOUT:.0f} seconds, got "
                f"{self.worker_timeout}"
            )

    def fitting(self, scenario: Scenario) -> Execution:
        """This execution with an engine that can run ``scenario``, where auto leaves it open.

        Raises FedcoreError where an engine is named that cannot.
        """
        if not scenario.parts.strategy.foreign or self.engine.startswith("flower-"):
            if self.engine == "auto" and needs_reference_engine(scenario):
                return dataclasses.replace(self, engine="sequential")
            return self
        if self.engine != "auto":
            raise FedcoreError(
                f"engine {self.engine!r} cannot run strategy {scenario.strategy!r}, which needs "
                "Flower's messages: name flower-grid or flower-ray, or leave it to auto"
            )
        return dataclasses.replace(self, engine="flower-grid")

    @property
    def torch_device(self) -> torch.device:
        """The device that is meant on this machine."""
        return choose_device(self.device)

    @property
    def engine_name(self) -> str:
        """The engine that is meant on this machine."""
        if self.engine != "auto":
            return self.engine
        stacked = self.torch_device.type == "cuda" and "stacked" in ENGINES
        return "stacked" if stacked else "sequential"

    @property
    def stacks(self) -> bool:
        """Whether clients train as one network, and so runs can in lockstep."""
        return self.engine_name in ("stacked", "stacked-graphs")

    @property
    def records_steps(self) -> bool:
        """Whether steps are recorded as CUDA graphs."""
        return self.engine == "stacked-graphs"

    @property
    def dtype(self) -> torch.dtype:
        """The type of weights and solvers."""
        return PRECISIONS[self.precision]

    def cast(self, forward: Forward) -> Forward:
        """``forward``, computing in this precision; its result has the type of the weights."""
        if self.precision != "bfloat16":
            return forward

        def mixed(images: torch.Tensor) -> torch.Tensor:
            with torch.autocast(self.torch_device.type, torch.bfloat16):
                return forward(images).to(self.dtype)

        return mixed

    def cast_model(self, model: nn.Module) -> None:
        """Make ``model`` compute in this precision, in place."""
        if self.precision == "bfloat16":
            model.forward = self.cast(model.forward)

    @contextlib.contextmanager
    def arithmetic(self) -> Iterator[None]:
        """`exact_arithmetic` on the device, but for TF32 where it was asked for."""
        matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
        with exact_arithmetic(self.torch_device):
            if self.precision != "tf32":
                yield
                return
            before = matmul.allow_tf32
            matmul.allow_tf32 = cudnn.allow_tf32 = True
            try:
                yield
            finally:
                matmul.allow_tf32 = before

    @property
    def label(self) -> str:
        """What of this changes the bits of a result, for records and the keys of stored ones."""
        suffix = "" if self.precision == "float32" else f"-{self.precision}"
        return self.engine_name + suffix


def choose_device(name: str) -> torch.device:
    """The device called ``name``: auto (CUDA where there is one), cpu or cuda."""
    if name not in DEVICES:
        raise FedcoreError(f"device must be auto, cpu or cuda, got {name!r}")
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise FedcoreError("device 'cuda' is not available on this machine: use cpu or auto")
    return torch.device("cuda" if available and name != "cpu" else "cpu")


def default_processes(device: str) -> int:
    """Processes for a single run that has the machine to itself: the cores, or 1 with CUDA."""
    return cores() if choose_device(device).type == "cpu" and can_fork() else 1


@contextlib.contextmanager
def exact_arithmetic(device: torch.device) -> Iterator[None]:
    """One CPU thread; on CUDA no TF32 and only deterministic convolutions. Restored afterwards."""
    threads = torch.get_num_threads()
    cudnn = torch.backends.cudnn
    flags = {
        "enabled": cudnn.enabled,
        "benchmark": False,
        "deterministic": True,
        "allow_tf32": False,
    }
    torch.set_num_threads(1)
    try:
        with cudnn.flags(**flags) if device.type == "cuda" else contextlib.nullcontext():
            yield
    finally:
        torch.set_num_threads(threads)
