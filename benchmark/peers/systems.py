"""The systems that train W1: what each needs and how it is started."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = "bare"


@dataclass(frozen=True)
class System:
    """A system under test.

    ``requirements`` are given to pip, which makes ``environment``, a folder that systems may share;
    ``arguments`` follow that environment's Python. ``about`` is its line in the table's legend.
    """

    name: str
    environment: str
    requirements: tuple[str, ...]
    arguments: tuple[str, ...]
    about: str


def adapter(name: str) -> tuple[str, ...]:
    """Arguments that run ``run_<name>.py`` of this folder."""
    return ("-m", f"{__package__}.run_{name}")


_TORCH = ("torch", "numpy")
_VISION = ("torch", "torchvision")
_PFL = ("pfl[pytorch]==0.6.0", "torch")

SYSTEMS = {
    system.name: system
    for system in (
        System("bare", "bare", _TORCH, adapter("bare"), "bare loop, 2 processes of 1 thread"),
        System("fedcore", "fedcore", (f"-e {ROOT}",), adapter("fedcore"), "2 processes"),
        System(
            "pfl-2",
            "pfl",
            _PFL,
            ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", *adapter("pfl")),
            "pfl-research, 2 processes by torchrun",
        ),
        System("pfl-1", "pfl", _PFL, adapter("pfl"), "pfl-research, 1 process, torch's threads"),
        System(
            "fluke",
            "fluke",
            ("fluke-fl==0.8.1", *_VISION),
            adapter("fluke"),
            "fluke, 1 process, torch's threads",
        ),
        System(
            "byzfl",
            "byzfl",
            ("byzfl==0.0.11", *_VISION),
            adapter("byzfl"),
            "ByzFL, 1 process, torch's threads",
        ),
        System(
            "flower",
            "flower",
            ("flwr[simulation]==1.41.0", *_TORCH),
            adapter("flower"),
            "Flower on Ray, a CPU for each client",
        ),
    )
}
