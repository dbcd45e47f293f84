"""Images of a brightness and blur of each client's own."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedcore import Scenario, run
from fedcore.components.parameters import param
from fedcore.errors import PartitionError, ScenarioError, StoreError
from fedcore.federation.federation import Federation
from fedcore.federation.skew import Skew
from fedcore.harness.proofs import skew as proofs
from fedcore.harness.proofs.audit import audit_problems
from fedcore.harness.proofs.judge import training_problems
from fedcore.partition.featureskew import FeatureSkew, blurred, kernel, scaled
from fedcore.partition.iid import Iid
from fedcore.partition.partitioner import Partitioner
from fedcore.records.record import Record
from fedcore.simulation.lockstep import run_lockstep
from fedcore.streams import Purpose, stream

BASE = Scenario(
    dataset="synthetic:300", model="mlp", num_clients=6, fraction_train=0.5, rounds=2, lr=0.1,
    partition="featureskew(of=dirichlet(alpha=1.0), intensity=0.6, blur=1.0)",
)  # fmt: skip
FLIP = {"attack": "labelflip", "malicious_fraction": 0.34, "poison_ratio": 0.5}
BACKDOOR = {**FLIP, "attack": "backdoor"}


def grid(*rows: list[int]) -> np.ndarray:
    return np.array(rows, np.uint8)[None, :, :, None]


def test_intensity_by_hand() -> None:
    # 1.5 * 3 = 4.5 and 1.5 * 5 = 7.5 go to the even number; 255 is the most
    assert scaled(grid([0, 3, 5, 200]), 1.5).ravel().tolist() == [0, 4, 8, 255]
    assert scaled(grid([0, 3, 255, 200]), 0.5).ravel().tolist() == [0, 2, 128, 100]
    assert (scaled(grid([0, 7, 255]), 1.0) == grid([0, 7, 255])).all()


def test_a_kernel_by_hand() -> None:
    assert kernel(0.0).tolist() == [4096]
    # e^-0.5 = 0.60653, e^-2 = 0.13534, e^-4.5 = 0.01111; sum 2.50595
    assert kernel(1.0).tolist() == [18, 221, 991, 1636, 991, 221, 18]
    for deviation in (0.1, 0.33, 1.7, 5.0):
        weights = kernel(deviation)
        assert weights.sum() == 4096
        assert (weights == weights[::-1]).all()
        assert (weights >= 0).all()


def test_blur_by_hand() -> None:
    # one bright pixel in the middle of a row: the kernel itself, in whole levels
    row = grid([0, 0, 0, 0, 200, 0, 0, 0, 0])
    expected = [200 * w / 4096 for w in (0, 18, 221, 991, 1636, 991, 221, 18, 0)]
    # columns repeat the edge: a single row stays as it is
    assert blurred(row, 1.0).ravel().tolist() == [int(v + 0.5) for v in expected]
    flat = np.full((2, 5, 4, 3), 77, np.uint8)
    assert (blurred(flat, 2.0) == flat).all(), "an even image has nothing to blur"


@settings(max_examples=30)
@given(st.integers(0, 2**31), st.floats(0, 4), st.integers(1, 9), st.integers(1, 9))
def test_a_second_derivation_gives_the_same_bytes(
    seed: int, deviation: float, height: int, width: int
) -> None:
    images = np.random.default_rng(seed).integers(0, 256, (2, height, width, 3), dtype=np.uint8)
    part = FeatureSkew(intensity=0.7, blur=deviation)
    made = part.changed(images, stream(seed, Purpose.FEATURE_SKEW, client=3))
    assert (proofs.changed(part, seed, 3, images) == made).all()


def test_clients_draw_from_the_whole_range_and_each_for_itself() -> None:
    part = FeatureSkew(intensity=0.4, blur=2.0)
    drawn = [part.drawn(stream(5, Purpose.FEATURE_SKEW, client=c)) for c in range(500)]
    factors, deviations = np.array(drawn).T
    assert 0.6 <= factors.min() < 0.62 < 1.38 < factors.max() <= 1.4
    assert 0 <= deviations.min() < 0.05 < 1.95 < deviations.max() <= 2.0
    assert abs(np.corrcoef(factors, deviations)[0, 1]) < 0.15


def prepared(scenario: Scenario, seed: int = 0) -> Federation:
    return Federation.prepare(scenario, seed, Path(), torch.device("cpu"))


def test_clients_train_on_changed_images_and_the_test_set_stays_clean() -> None:
    made, plain = prepared(BASE), prepared(BASE.but(partition="dirichlet(alpha=1.0)"))
    assert all((a == b).all() for a, b in zip(made.parts, plain.parts, strict=True))
    assert torch.equal(made.test.images, plain.test.images)
    assert torch.equal(made.train_images, plain.train_images)
    part = BASE.parts.partition
    for client, own in enumerate(made.parts):
        seen = made.pool[torch.from_numpy(made.threat.samples_of(client, 1))].numpy()
        drawing = stream(0, Purpose.FEATURE_SKEW, client=client)
        assert (seen == part.changed(plain.train_images.numpy()[own], drawing)).all()
        assert made.skew[client].samples == len(own)


def test_poison_is_put_on_changed_images() -> None:
    made, honest = prepared(BASE.but(**BACKDOOR)), prepared(BASE)
    bad = made.threat.malicious.tolist()
    for client in range(6):
        seen = made.pool[torch.from_numpy(made.threat.samples_of(client, 1))]
        own = honest.pool[torch.from_numpy(honest.threat.samples_of(client, 1))]
        differs = (seen != own).any(dim=3)  # [k, h, w]
        touched = differs.any(dim=2).any(dim=1)
        assert bool(touched.any()) == (client in bad)
        assert not differs[:, :-3].any(), "outside the trigger an image is the client's own"
    assert honest.skew == made.skew


@pytest.mark.parametrize("attack", [{}, FLIP, BACKDOOR], ids=str)
def test_engines_agree_and_runs_are_proven(attack: dict[str, object]) -> None:
    scenario, how = BASE.but(**attack), {"device": "cpu", "precision": "float64"}
    one = run(scenario, 1, engine="sequential", **how)
    assert training_problems(one) == []
    assert Record.from_json(one.to_json()) == one
    assert run(scenario, 1, processes=2, **how).model_digest == one.model_digest
    runs = [(scenario, 2), (BASE.but(partition="iid"), 1), (scenario, 1)]
    for other in (run(scenario, 1, engine="stacked", **how), run_lockstep(runs, **how)[2]):
        assert other.accuracy == one.accuracy
        assert training_problems(other) == []
        assert other.audit.skew == one.audit.skew


def test_a_fixed_partition_has_fixed_images() -> None:
    fixed = BASE.but(partition_seed=3)
    assert prepared(fixed, 0).skew == prepared(fixed, 1).skew
    assert prepared(BASE, 0).skew != prepared(BASE, 1).skew


def test_images_that_nobody_changed_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = run(BASE, 0, device="cpu")
    # trained on clean images, and said to have changed them
    monkeypatch.setattr(Skew, "under", lambda self, threat: threat)
    idle = run(BASE, 0, device="cpu")
    assert idle.audit.skew == honest.audit.skew
    assert any("0 of" in p and "changed images" in p for p in training_problems(idle))


def test_half_the_skew_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = FeatureSkew.drawn
    monkeypatch.setattr(
        FeatureSkew, "drawn", lambda self, g: ((drawn(self, g)[0] + 1) / 2, drawn(self, g)[1])
    )
    problems = training_problems(run(BASE, 0, device="cpu"))
    assert any("has other images than its partition makes" in p for p in problems)


@pytest.mark.parametrize(
    ("partition", "message"),
    [
        ("featureskew(intensity=0)", "would change no image: raise either, or name partition"),
        ("featureskew(of=featureskew)", "featureskew changes images once: name a partition"),
        ("featureskew(intensity=1.5)", r"intensity must be in \[0, 1\]"),
    ],
)
def test_what_changes_nothing_or_twice_is_refused(partition: str, message: str) -> None:
    with pytest.raises(ScenarioError, match=message):
        Scenario(partition=partition)


def test_a_parameter_of_the_same_name_in_an_attack_is_no_trouble() -> None:
    scenario = BASE.but(attack="scaled(of=labelflip(poison_ratio=0.5))", malicious_fraction=0.34)
    assert Scenario.from_dict(scenario.to_dict()) == scenario
    assert scenario.parts.partition.of.name == "dirichlet"
    assert scenario.parts.attack.of.name == "labelflip"
    assert run(scenario, 0, device="cpu").audit.skew


class Grown(Partitioner):
    changes_images = True
    more: int = param("rows that are added", default=1, low=0)

    def split(self, labels, num_clients, generator):  # type: ignore[no-untyped-def]
        return Iid().split(labels, num_clients, generator)

    def changed(self, images, generator):  # type: ignore[no-untyped-def]
        return np.pad(images, ((0, 0), (0, self.more), (0, 0), (0, 0)))


def test_images_of_another_form_and_no_change_at_all_are_refused() -> None:
    path = f"{Grown.__module__}:Grown"
    with pytest.raises(PartitionError, match=r"must give uint8 images of shape .* correct its"):
        prepared(BASE.but(partition=path))
    with pytest.raises(PartitionError, match="changed no image of any client"):
        prepared(BASE.but(partition=f"{path}(more=0)"))


def test_entries_that_no_run_can_have_are_damage() -> None:
    record = run(BASE, 0, device="cpu")
    first = record.audit.skew[0]
    for entry in (
        dataclasses.replace(first, changed=first.samples + 1),
        dataclasses.replace(first, images="x"),
        dataclasses.replace(first, client=1),
    ):
        audit = dataclasses.replace(record.audit, skew=(entry, *record.audit.skew[1:]))
        with pytest.raises(StoreError, match=r"skew must have|do not agree"):
            Record.from_json(dataclasses.replace(record, audit=audit).to_json())


@pytest.mark.parametrize(
    "changes",
    [
        {"attack": "secondbest(poison_ratio=0.5)", "malicious_fraction": 0.34},
        {
            "attack": "until(of=backdoor(poison_ratio=0.5), last_round=1)",
            "malicious_fraction": 0.34,
        },
        {"strategy": "fltrust(root_size=20)", **BACKDOOR},
    ],
    ids=lambda changes: str(next(iter(changes.values()))),
)
def test_what_else_looks_at_images_is_given_the_clients_own(changes: dict[str, object]) -> None:
    scenario = BASE.but(fraction_train=1.0, **changes)
    record = run(scenario, 1, device="cpu", precision="float64", engine="sequential")
    assert training_problems(record) + audit_problems(record) == []
    stacked = run(scenario, 1, device="cpu", precision="float64", engine="stacked")
    assert stacked.accuracy == record.accuracy
    assert training_problems(stacked) == []
    assert len(record.audit.skew) == len(record.audit.client_accuracy) == 6


def test_a_server_keeps_its_root_set_when_an_attack_on_images_is_over() -> None:
    attack = {
        "attack": "until(of=backdoor(poison_ratio=0.5), last_round=1)",
        "malicious_fraction": 0.34,
    }
    scenario = BASE.but(partition="iid", strategy="fltrust(root_size=20)", **attack)
    made = prepared(scenario)
    assert made.root is not None
    for round in (1, 2):
        places = torch.from_numpy(made.threat.samples_of(made.root.client, round))
        assert torch.equal(made.pool[places], made.root.images)


def test_the_partition_within_goes_with_the_partition() -> None:
    scenario = BASE.but(partition="iid", attack="scaled(gamma=3.0)", malicious_fraction=0.34)
    assert scenario.parts.attack.of is None
    assert BASE.but(partition="featureskew(blur=2.0)").parts.partition.of.name == "dirichlet"
