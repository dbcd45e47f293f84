"""What the suite's timing of Flower's messages is measured on."""

from __future__ import annotations

from benchmark import test_flower_overhead as overhead
from fedcore.data.loading import load
from fedcore.scenario.presets import preset


def test_the_cost_of_messages_is_measured_on_a_client_as_large_as_w1s() -> None:
    scenario, w1 = overhead.workload(), preset("w1")
    bloodmnist = 11959
    samples = len(load(scenario.dataset).train)
    assert abs(samples / bloodmnist - 1) < 0.01
    assert (scenario.image_size, scenario.grayscale) == (28, True)  # three channels, as W1's
    same = ("num_clients", "fraction_train", "batch_size", "local_epochs", "model", "optimizer")
    assert all(getattr(scenario, name) == getattr(w1, name) for name in same)
