"""What attacks on updates are made of: mean and deviation of rows, and products of them.

Numbers of a coordinate are worked out in float64, a piece of the coordinates at a time, so that no
row is held in float64 as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from fedcore.attacks.attack import UpdateAttack
    from fedcore.scenario import Scenario

_CHUNK = 1 << 16  # coordinates at a time on the CPU


def spans(rows: torch.Tensor) -> Iterator[slice]:
    """The coordinates of ``rows`` [K, P] in pieces."""
    width = 1 << 22 if rows.is_cuda else _CHUNK
    for start in range(0, rows.shape[1], width):
        yield slice(start, start + width)


def mean(rows: torch.Tensor) -> torch.Tensor:
    """The unweighted mean of ``rows`` [K, P], [P] in their type."""
    return torch.cat([rows[:, span].double().mean(dim=0).to(rows) for span in spans(rows)])


def deviation(rows: torch.Tensor, less: int = 0) -> torch.Tensor:
    """The standard deviation of each coordinate of ``rows`` [K, P], [P] in their type.

    By two passes; the divisor is K - ``less``. That of one row is 0.
    """
    divisor = max(len(rows) - less, 1)
    parts = []
    for span in spans(rows):
        wide = rows[:, span].double()  # not a copy where rows are float64
        gaps = wide - wide.mean(dim=0)
        parts.append((gaps.square().sum(dim=0) / divisor).sqrt().to(rows))
    return torch.cat(parts)


def products(
    rows: torch.Tensor, origin: torch.Tensor | None = None, last: torch.Tensor | None = None
) -> torch.Tensor:
    """Inner products of ``rows`` [R, P], less ``origin`` [P], in float64: [R, R] on the CPU.

    ``last`` [P] is a row more, at the end, of which nothing is subtracted.
    """
    size = len(rows) + (last is not None)
    total = torch.zeros(size, size, dtype=torch.float64, device=rows.device)
    for span in spans(rows):
        wide = rows[:, span].to(torch.float64, copy=True)
        if origin is not None:
            wide -= origin[span]
        if last is not None:
            wide = torch.cat((wide, last[None, span].double()))
        total.addmm_(wide, wide.T)
    return total.cpu()


def distances(gram: torch.Tensor) -> torch.Tensor:
    """Squared distances [R, R] of rows whose inner products ``gram`` are."""
    norms = gram.diagonal()
    return (norms[:, None] + norms[None, :] - 2 * gram).clamp_(min=0)


def lonely(attack: UpdateAttack, clients: int, malicious: int) -> bool:
    """Whether the only update that ``malicious`` among ``clients`` see is the sender's own."""
    return malicious == 1 and (attack.knows == "own" or clients == 1)


def lonely_problems(attack: UpdateAttack, scenario: Scenario) -> list[str]:
    """That one malicious client alone estimates nothing from what it sees, as a message."""
    if attack.knows != "own" or scenario.num_malicious != 1:
        return []
    return [
        f"attack {attack.name!r} with knows='own' estimates from the malicious clients' own "
        "updates, and would send the only one as it is: raise malicious_fraction, or set "
        "knows='benign'"
    ]
