from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from fedcore.data.dataset import Split
from fedcore.data.transforms import Transform
from fedcore.engine.evaluation import evaluate, summarise

# rows: true class; 10, 20 and no samples
CONFUSION = torch.tensor([[7, 2, 1], [5, 15, 0], [0, 0, 0]])


def test_by_hand() -> None:
    score = summarise(CONFUSION, 60.0, (0, 2))
    assert score.accuracy == pytest.approx(22 / 30)
    assert score.loss == 2.0
    assert score.recall == (0.7, 0.75, None)
    assert score.asr == 0.1
    assert summarise(CONFUSION, 60.0, (1, 0)).asr == 0.25


def test_success_rate_is_undefined_without_a_target_or_source_samples() -> None:
    assert summarise(CONFUSION, 60.0, None).asr is None
    assert summarise(CONFUSION, 60.0, (2, 0)).asr is None


@pytest.mark.parametrize("loss", [math.inf, math.nan])
def test_a_loss_that_is_not_finite_is_nan(loss) -> None:
    assert math.isnan(summarise(CONFUSION, loss, None).loss)


class Brightness(nn.Module):
    """Logits (0, value of the only pixel): class 1 for bright images."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert not self.training
        bright = x.flatten(1)[:, :1]
        return torch.cat([torch.zeros_like(bright), bright], dim=1)


def test_batches_do_not_change_the_score(monkeypatch) -> None:
    levels = torch.arange(0, 250, 5, dtype=torch.uint8)  # 50 images; 128 and more are class 1
    labels = (levels > 100).long()  # so 105 ... 125 are taken for class 0
    test = Split(levels.view(-1, 1, 1, 1), labels)
    transform = Transform(size=(1, 1), stored=1, channels=1, mean=(0.5,), std=(0.5,))
    model = Brightness().train()
    whole = evaluate(model, test, transform, 2, (1, 0))
    monkeypatch.setattr("fedcore.engine.evaluation._BATCH_PIXELS", {"cpu": 7})
    pieces = evaluate(model, test, transform, 2, (1, 0))
    assert whole.accuracy == pieces.accuracy == 45 / 50
    assert whole.recall == pieces.recall == (1.0, 24 / 29)
    assert whole.asr == 5 / 29
    assert whole.loss == pytest.approx(pieces.loss, rel=1e-6)
    values = levels.double() / 127.5 - 1
    signs = 1 - 2 * labels.double()
    assert whole.loss == pytest.approx(float(torch.log1p((signs * values).exp()).mean()), rel=1e-5)
