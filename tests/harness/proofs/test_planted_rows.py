"""Rows that the audit must tell from those of an attack: broken, scaled, tied or overflowing."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fedcore import Scenario
from fedcore.attacks.data.backdoor import Backdoor
from fedcore.attacks.updates.alie import Alie
from fedcore.attacks.updates.fangkrum import FangKrum
from fedcore.attacks.updates.gaussian import Gaussian
from fedcore.attacks.updates.ipm import Ipm
from fedcore.attacks.updates.mimic import Mimic
from fedcore.attacks.updates.minmax import MinMax
from fedcore.attacks.updates.minsum import MinSum
from fedcore.attacks.updates.nonfinite import NonFinite
from fedcore.attacks.updates.scaled import Scaled
from fedcore.attacks.updates.signflip import SignFlip
from fedcore.attacks.work.neurotoxin import Neurotoxin
from fedcore.attacks.work.pgd import Pgd
from fedcore.attacks.work.trainlonger import TrainLonger
from fedcore.errors import AttackError, ScenarioError
from fedcore.exchange.sent import Sent
from fedcore.harness.proofs.audit import audit_problems
from fedcore.simulation.runner import run
from tests.attacks.updates.shown import shown
from tests.harness.proofs.planted import Patch

BASE = Scenario(
    dataset="synthetic:140", model="mlp", num_clients=7, fraction_train=1.0, rounds=2,
    optimizer="sgd", malicious_fraction=0.43, attack=Ipm(), strategy="median", lr=0.1,
)  # fmt: skip
LAYERED = [
    Scaled(of=Scaled(gamma=3.0), gamma=2.0),
    Scaled(of=Scaled(of=SignFlip(stretch=2.0), gamma=3.0), gamma=2.0),
    Scaled(of=SignFlip(), gamma=3.0),
    Scaled(of=Backdoor(poison_ratio=0.5), gamma=3.0),
    Scaled(gamma=3.0),
]  # fmt: skip


def found(attack: Any, **changes: Any) -> str:
    """What the audit of a run finds, in one line."""
    return " | ".join(audit_problems(run(BASE.but(attack=attack, **changes), 0, device="cpu")))


@pytest.mark.parametrize("rounds", [{2}, {1, 2}], ids=str)
@pytest.mark.parametrize(
    "attack", [SignFlip(), Scaled(), FangKrum(), Gaussian(), Alie(), *LAYERED], ids=str
)
def test_values_that_are_not_finite(monkeypatch: Patch, attack: Any, rounds: set[int]) -> None:
    crafted = type(attack).craft

    def broken(self: Any, seen: Any) -> torch.Tensor:
        sent = crafted(self, seen).clone()
        return sent.fill_(float("nan")) if seen.round in rounds else sent

    monkeypatch.setattr(type(attack), "craft", broken)
    assert f"sends {len(rounds)} of 2 updates of client" in found(attack)


@pytest.mark.parametrize(
    "attack",
    [
        Scaled(gamma=1e38), Gaussian(sd=1e38), SignFlip(stretch=1e39), NonFinite(),
        Scaled(of=NonFinite(), gamma=2.0),
    ],
    ids=str,
)  # fmt: skip
def test_attacks_that_leave_the_finite_numbers_may(attack: Any) -> None:
    assert found(attack) == ""


@pytest.mark.parametrize("attack", LAYERED, ids=str)
def test_what_is_scaled_twice_or_flipped_is_no_problem(attack: Any) -> None:
    assert found(attack) == ""


@pytest.mark.parametrize("attack", LAYERED, ids=str)
@pytest.mark.parametrize("bug", ["shorter", "in part"])
def test_another_factor_is_found(monkeypatch: Patch, attack: Any, bug: str) -> None:
    crafted = Scaled.craft

    def wrong(self: Any, seen: Any) -> torch.Tensor:
        sent = crafted(self, seen).clone()
        if bug == "shorter":
            return sent * 0.999
        sent[:, : sent.shape[1] // 100] = seen.own[:, : sent.shape[1] // 100]
        return sent

    monkeypatch.setattr(Scaled, "craft", wrong)
    assert "whose measure 'off'" in found(attack)


@pytest.mark.parametrize("direction", ["unit", "sign", "std"])
@pytest.mark.parametrize("kind", [MinMax, MinSum])
def test_long_updates_are_moved_as_far_as_short_ones(kind: Any, direction: str) -> None:
    """A direction must not be rounded to the digits of the mean."""
    generator = torch.Generator().manual_seed(0)
    rows = 1e8 * (4 + torch.randn(5, 60, generator=generator))
    attack = kind(direction=direction)
    seen = shown(rows)
    single = {name: getattr(seen, name).float() for name in ("own", "benign")}
    row = attack.craft(type(seen)(**{**vars(seen), **single}))
    sent = Sent(row, single["own"], single["benign"], "benign", 0, 1, (1, 2, 3, 4, 5))
    assert attack.measured(sent)["reach"] == pytest.approx(1, abs=1e-4)


def test_rows_that_tie_for_krum_are_either_one_the_trend() -> None:
    """Of two rows that are each other's only neighbour, rounding decides which Krum takes."""
    own = torch.tensor([[3.0, -3.0], [9.0, 9.0]], dtype=torch.float64)
    benign = torch.tensor([[3.0, 3.0], [-9.0, 9.0], [9.0, -20.0]], dtype=torch.float64)
    attack = FangKrum(epsilon=0.0)
    for trend in ([1.0, -1.0], [1.0, 1.0]):
        way = torch.tensor(trend, dtype=torch.float64)
        both = torch.cat((own, benign))
        due = [attack._against(_sent(own, benign, -way), *_tables(both), row) for row in (0, 2)]
        size = next(1 / shown["strength"] for shown in due if shown["aside"] < 1e-9)
        shown = attack.measured(_sent(own, benign, -size * way))
        assert shown["aside"] < 1e-9
        assert shown["strength"] == pytest.approx(1)


def _sent(own: torch.Tensor, benign: torch.Tensor, row: torch.Tensor) -> Sent:
    return Sent(row.repeat(2, 1), own, benign, "benign", 0, 1, (2, 3, 4))


def _tables(rows: torch.Tensor) -> tuple[Any, Any]:
    gram = (rows @ rows.T).numpy()
    return gram.diagonal()[:, None] + gram.diagonal() - 2 * gram, gram.diagonal()


@pytest.mark.parametrize(
    ("attack", "name"),
    [
        (Pgd(of=Pgd(radius=0.1), radius=0.2), "radius=0.2"),
        (Neurotoxin(of=TrainLonger(of=Neurotoxin(masked_share=0.5))), "masked=0.05"),
    ],
)
def test_work_that_an_outer_attack_takes_back_is_refused(attack: Any, name: str) -> None:
    with pytest.raises(ScenarioError, match=f"sets {name} in place of"):
        BASE.but(attack=attack)


def test_a_mask_of_no_parameter_is_an_error() -> None:
    with pytest.raises(AttackError, match="parameters rounds to 0: raise masked_share"):
        run(BASE.but(attack=Neurotoxin(masked_share=1e-9)), 0, device="cpu")


@pytest.mark.parametrize(
    "changes",
    [
        {"attack": Alie(z=1.5), "num_clients": 1, "malicious_fraction": 1.0},
        {"attack": Mimic(), "malicious_fraction": 1.0},
    ],
)
def test_attackers_who_see_nobody_are_told_before_training(changes: Any) -> None:
    with pytest.raises(AttackError, match="see their own alone"):
        run(BASE.but(strategy="fedavg", **changes), 0, device="cpu")


def test_a_mask_of_all_but_what_nobody_moves_is_no_problem() -> None:
    assert found(Neurotoxin(masked_share=0.99999), rounds=3) == ""
