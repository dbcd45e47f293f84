"""The bytes that leave a client: its release, what the statement calls clear, nothing else."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("flwr", reason="needs the extra 'flower'")

import torch

from fedcore.privacy.clipping import clip_rows
from fedcore.privacy.noise import SecureNoise, SeededNoise
from fedcore.scenario import Scenario
from tests.flower.wire import MECHANISMS, SYSTEM, parts_of, records, wired

FACTS = {"num-examples", "client", "steps", "normalizer", "secret-noise"}


def fragments(vector: torch.Tensor, length: int = 4) -> list[bytes]:
    """Every ``length`` numbers of ``vector`` that move, as bytes of each type they could take."""
    windows = vector[: len(vector) // length * length].reshape(-1, length)
    windows = windows[(windows != 0).all(dim=1)]
    found = []
    for row in windows:
        for dtype in (np.float16, np.float32, np.float64):
            found.append(row.numpy().astype(dtype).tobytes())
    return found


@pytest.mark.parametrize("name", MECHANISMS)
@pytest.mark.parametrize("nodes", [None, SYSTEM], ids=["simulated", "deployed"])
def test_a_reply_holds_the_release_and_what_the_statement_calls_clear(
    tiny: Scenario, monkeypatch: pytest.MonkeyPatch, name: str, nodes
) -> None:
    if name == "dpsgd":
        pytest.importorskip("opacus")
    scenario = tiny.but(**MECHANISMS[name], rounds=2)
    record, grid = wired(scenario, monkeypatch, nodes)
    mechanism, layout = parts_of(scenario)
    told = record.audit.privacy
    assert told is not None
    private = name not in ("clip", "centraldp", "dpsgd")  # of dpsgd training itself is
    for sent in grid.sent:
        content = records(sent.data)
        counters = "counters in clear" in told.released
        names = {"arrays/release", "arrays/counters"} if counters else {"arrays/release"}
        assert set(content["arrays"]) == names
        assert set(content["metrics"]) == FACTS
        assert content["configs"] == {}
        assert content["metrics"]["client"] == sent.client
        assert content["metrics"]["secret-noise"] == int(nodes is not None)
        release = content["arrays"]["arrays/release"]
        assert release.shape == (told.dimension,)
        # neither what was trained nor the model travels, in any record, in any type
        if private or name == "clip":
            for vector in (sent.raw, sent.state.vector + sent.raw):
                parameters = vector[: layout.num_parameters]
                assert not any(piece in sent.data for piece in fragments(parameters)[::7])
        else:
            assert np.array_equal(release, mechanism.run.release.take(sent.raw[None])[0])
    assert told.clipped is None or name == "centraldp", "nobody tells the server who was clipped"
    assert any("leaves it" in note for note in told.notes) == (name != "centraldp")


@pytest.mark.parametrize("name", ["localdp", "localdp, head", "localdp, buffers"])
def test_what_is_sent_is_the_clipped_update_and_noise_of_sigma(
    tiny: Scenario, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    scenario = tiny.but(**MECHANISMS[name], rounds=2)
    record, grid = wired(scenario, monkeypatch)
    mechanism, _ = parts_of(scenario)
    assert record.audit.privacy.sigma == mechanism.sigma
    for sent in grid.sent:
        release = torch.from_numpy(records(sent.data)["arrays"]["arrays/release"])
        raw = mechanism.run.release.take(sent.raw[None])
        clipped, long, _ = clip_rows(raw, scenario.clip_norm)
        noise = SeededNoise(3).normal(len(release), round=sent.round, client=sent.client)
        expected = (clipped[0] + mechanism.sigma * noise).to(torch.float32)
        # what the client may do to its release: no running variance falls below zero
        place = mechanism.run.release.put(expected[None], sent.raw[None], sent.state.vector)
        expected = mechanism.run.release.take(place)[0]
        torch.testing.assert_close(release, expected, rtol=1e-6, atol=1e-7)
        # far from the ball that was clipped to: norm sqrt(C^2 + n sigma^2) within 5 deviations
        size = mechanism.sigma * len(release) ** 0.5
        assert abs(float(release.norm()) - size) < scenario.clip_norm + 5 * mechanism.sigma
        assert bool(long) or name == "localdp, buffers", "else clipping is not seen"


def test_without_noise_only_the_clipped_update_travels(
    tiny: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenario = tiny.but(**MECHANISMS["clip"], rounds=1)
    _, grid = wired(scenario, monkeypatch)
    layout = parts_of(scenario)[1]
    for sent in grid.sent:
        release = torch.from_numpy(records(sent.data)["arrays"]["arrays/release"])
        raw = sent.raw[: layout.num_parameters]
        assert float(raw.norm()) > 0.02
        assert float(release.norm()) == pytest.approx(0.01, rel=1e-5)
        torch.testing.assert_close(release, raw * (0.01 / raw.norm()), rtol=1e-5, atol=1e-9)


def test_noise_of_a_deployed_node_is_not_the_seeds(
    tiny: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who knows the seed, as every server does, takes nothing away: not twice the same, either."""
    scenario = tiny.but(**MECHANISMS["localdp"], rounds=1)
    mechanism, _ = parts_of(scenario)
    seen = []
    for _ in range(2):
        with monkeypatch.context() as patch:
            record, grid = wired(scenario, patch, SYSTEM)
        assert record.audit.privacy.generator == SecureNoise.description
        noises = []
        for sent in grid.sent:
            release = torch.from_numpy(records(sent.data)["arrays"]["arrays/release"])
            clipped, _, _ = clip_rows(
                mechanism.run.release.take(sent.raw[None]), scenario.clip_norm
            )
            noise = (release.to(torch.float64) - clipped[0]) / mechanism.sigma
            seeded = SeededNoise(3).normal(len(noise), round=sent.round, client=sent.client)
            assert float(noise.std()) == pytest.approx(1, abs=5 / (2 * len(noise)) ** 0.5)
            assert abs(float(noise @ seeded)) / len(noise) < 5 / len(noise) ** 0.5
            noises.append(noise)
        seen += noises
    table = torch.stack(seen)
    products = table @ table.T / table.shape[1]
    products.fill_diagonal_(0)
    assert float(products.abs().max()) < 5.5 / table.shape[1] ** 0.5


def test_dpsgd_of_a_deployed_node_is_not_the_seeds(
    tiny: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("opacus")
    scenario = tiny.but(**MECHANISMS["dpsgd"], rounds=1)
    found = []
    for nodes in (None, None, SYSTEM, SYSTEM):
        with monkeypatch.context() as patch:
            _, grid = wired(scenario, patch, nodes)
        found.append(records(grid.sent[0].data)["arrays"]["arrays/release"])
    assert np.array_equal(found[0], found[1])
    assert not np.isclose(found[0], found[2]).any(axis=0).mean() > 0.1
    assert not np.isclose(found[2], found[3]).any(axis=0).mean() > 0.1


def test_noise_of_a_server_of_real_clients_is_not_the_seeds(
    tiny: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    """centraldp protects from those who see the global model; clients do, and know the seed."""
    scenario = tiny.but(**MECHANISMS["centraldp"], rounds=1)
    seen = []
    for nodes in (None, None, SYSTEM, SYSTEM):
        with monkeypatch.context() as patch:
            record, _ = wired(scenario, patch, nodes)
        seen.append((record.model_digest, record.audit.privacy.generator))
    assert seen[0] == seen[1]
    assert len({digest for digest, _ in seen}) == 3
    assert [generator for _, generator in seen[1:3]] == [
        SeededNoise.description, SecureNoise.description,
    ]  # fmt: skip
