"""Fang's attack on the trimmed mean and the median."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

from fedcore.attacks.attack import ATTACKS, Seen, UpdateAttack
from fedcore.attacks.crafting import lonely, lonely_problems, spans
from fedcore.components.parameters import param
from fedcore.exchange.sent import Piece, Sent
from fedcore.exchange.updates import measured_problems

if TYPE_CHECKING:
    from fedcore.records.record import Record
    from fedcore.scenario import Scenario

_STRETCH = 2.0  # the paper's b
_NEAR, _FAR = 3.0, 4.0  # standard deviations, where the attackers see their own updates only


@ATTACKS.register("fangtrim", "beyond the others, against the trend (Fang et al. 2020)")
class FangTrim(UpdateAttack):
    """Every malicious client draws each coordinate on the far side of the benign ones.

    A coordinate that would grow in an honest round (s = sign of the mean of all honest updates) is
    drawn below the least benign value, one that would shrink above the greatest, out to twice that
    value or half of it (the paper's b = 2): from [max, b max] where max > 0, else from [max, max /
    b]; and from [b min, min] where min < 0, else from [min / b, min]. Coordinates that do not move
    are left at the mean.

    ``stretched`` says what b stretches: the paper has "models", the authors' code "updates"; models
    are longer, so that these values stand out more. With ``knows="own"`` (the paper's partial
    knowledge) s, mu and sigma are those of the malicious clients' own updates, and values are drawn
    from [mu - 4 sigma, mu - 3 sigma] or [mu + 3 sigma, mu + 4 sigma], whatever ``stretched``.
    Source: Fang, Cao, Jia, Gong, "Local Model Poisoning Attacks to Byzantine-Robust Federated
    Learning", USENIX Security 2020, the attack against trimmed mean and median alike.
    """

    knows: str = param("which updates they see", default="benign", choices=("own", "benign"))
    stretched: str = param("what b stretches", default="models", choices=("models", "updates"))

    def problems(self, scenario: Scenario) -> list[str]:
        """One malicious client that sees itself only; ``stretched``, where it is not read."""
        problems = lonely_problems(self, scenario)
        if self.knows == "own" and self.stretched != "models":
            problems.append(
                "fangtrim with knows='own' draws by standard deviations, so that "
                "stretched='updates' is not read: leave it out"
            )
        return problems

    def sends_own(self, clients: int, malicious: int) -> bool:
        return lonely(self, clients, malicious)

    def craft(self, seen: Seen) -> torch.Tensor:
        own, sent = seen.own, torch.empty_like(seen.own)
        benign = None if seen.visible is own else seen.visible
        model = seen.state.vector[: own.shape[1]]  # behind the parameters lie buffers
        for span in spans(own):
            mine = own[:, span].double()
            shares = torch.rand(
                mine.shape, generator=seen.generator, dtype=torch.float64, device=own.device
            )
            if benign is None:
                trend, near, far = _deviating(mine)
                rest = mine.mean(dim=0)
            else:
                others = benign[:, span].double()
                origin = model[span].double() if self.stretched == "models" else None
                trend = torch.cat((mine, others)).mean(dim=0).sign()
                near, far = _beyond(others, trend, origin)
                rest = others.mean(dim=0)
            drawn = near + shares * (far - near)
            sent[:, span] = torch.where(trend == 0, rest, drawn).to(own)
        return sent

    def measured(self, sent: Sent) -> Mapping[str, float]:
        """Measure the share of moving coordinates that lies ``inside`` the interval, and where.

        ``place`` is the mean between its ends (0 near, 1 far), ``error`` the standard error of it.
        """
        full = sent.sees_benign
        tiny = 8 * torch.finfo(sent.rows.dtype).eps

        def terms(piece: Piece) -> torch.Tensor:
            rows = piece.visible
            honest = torch.cat((piece.own, rows)) if full else rows
            trend = honest.mean(dim=0).sign()
            base = piece.model if full and self.stretched == "models" else torch.zeros_like(trend)
            if full:
                values = base + torch.where(trend < 0, rows.amax(dim=0), rows.amin(dim=0))
                outward = values * trend < 0  # away from 0 is against the trend
                ends = values, torch.where(outward, values * _STRETCH, values / _STRETCH)
            else:
                gaps = rows - rows.mean(dim=0)
                sigma = (gaps.square().sum(dim=0) / len(rows)).sqrt()
                middle = rows.mean(dim=0)
                ends = middle - trend * _NEAR * sigma, middle - trend * _FAR * sigma
            low, high = torch.minimum(*ends), torch.maximum(*ends)
            value = piece.row + base
            slack = tiny * (value.abs() + low.abs() + high.abs() + rows.abs().amax(dim=0))
            inside = (low - slack <= value) & (value <= high + slack)
            wide = (trend != 0) & (high - low > 1000 * slack)
            place = ((value - ends[0]) / (ends[1] - ends[0])).where(wide, 0.0)
            counts = (trend != 0).sum(), (inside & (trend != 0)).sum(), wide.sum()
            return torch.stack((*(count.double() for count in counts), place.sum()))

        moving, inside, wide, place = sent.sums(terms).tolist()
        shown = {"inside": inside / moving if moving else 1.0}
        if wide:
            shown |= {"place": place / wide, "error": 1 / math.sqrt(12 * wide)}
        return shown

    def audit_problems(self, record: Record) -> list[str]:
        """Values inside the benign ones, beyond the bound, or not drawn evenly between."""
        problems = list(measured_problems(record, "inside", 1 - 1e-6, 1))
        errors = [dict(each.measured).get("error", (0, 0))[1] for each in record.audit.updates]
        if any(errors):
            off = 7 * max(errors)
            problems += measured_problems(record, "place", 0.5 - off, 0.5 + off, required=False)
        return problems


def _beyond(
    others: torch.Tensor, trend: torch.Tensor, origin: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """The ends, near and far, of the intervals beyond ``others`` [n, s], as updates.

    ``origin`` [s] is what updates are added to before they are stretched; None: nothing.
    """
    edge = torch.where(trend < 0, others.amax(dim=0), others.amin(dim=0))
    value = edge if origin is None else origin + edge
    upward, positive = trend < 0, value > 0
    far = torch.where(upward == positive, value * _STRETCH, value / _STRETCH)
    return edge, far if origin is None else far - origin


def _deviating(own: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Trend of ``own`` [m, s], and the ends of the intervals at 3 and 4 standard deviations."""
    mu = own.mean(dim=0)
    sigma = (own - mu).square().mean(dim=0).sqrt()
    trend = mu.sign()
    return trend, mu - _NEAR * trend * sigma, mu - _FAR * trend * sigma
