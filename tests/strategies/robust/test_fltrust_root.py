"""What is no root set, and what is no root update: each is named."""

from __future__ import annotations

import dataclasses

import pytest

from fedcore.engine.sequential import SequentialEngine
from fedcore.errors import IdentityError
from fedcore.federation.root import Root
from fedcore.harness.proofs.judge import training_problems
from fedcore.simulation.runner import run
from tests.strategies.robust.test_fltrust import SMALL, prepared


@pytest.mark.parametrize("engine", ["sequential", "stacked"])
def test_a_root_update_that_is_trained_on_a_client_is_named(monkeypatch, engine) -> None:
    def behind(self, threat):
        made = REAL_BEHIND(self, threat)
        made.seen[self.client] = made.parts[0][:20]
        return made

    REAL_BEHIND = Root.behind
    monkeypatch.setattr(Root, "behind", behind)
    with pytest.raises(IdentityError, match="trained on 0 root samples of 60 images instead of 60"):
        run(SMALL, device="cpu", engine=engine)


def test_root_updates_that_are_no_servers_are_named(monkeypatch) -> None:
    def changed(change):
        real = SequentialEngine.train

        def train(self, state, round, clients):
            cohort = real(self, state, round, clients)
            return change(cohort)

        return train

    def zeroed(cohort):
        cohort.updates[-1] = 0
        return cohort

    def copied(cohort):
        cohort.updates[-1] = cohort.updates[2]
        return cohort

    def left_out(cohort):
        facts = ("clients", "updates", "counters", "samples", "steps", "normalizers", "noted")
        return dataclasses.replace(cohort, **{name: getattr(cohort, name)[:-1] for name in facts})

    for change, reason in (
        (zeroed, "is 0: the server trained nothing"),
        (copied, "is that of client 2"),
        (left_out, "the engine left it out"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(SequentialEngine, "train", changed(change))
            with pytest.raises(IdentityError, match=reason):
                run(SMALL, device="cpu", engine="sequential")


def test_scoring_the_root_set_or_another_root_set_is_named(monkeypatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Root, "scored", lambda self, test: test)
        record = run(SMALL, device="cpu")
        assert any("scored on" in problem for problem in training_problems(record))
    with monkeypatch.context() as patch:
        real = Root.of
        patch.setattr(Root, "of", lambda scenario, seed, dataset: real(scenario, 9, dataset))
        record = run(SMALL, device="cpu")
        assert any("which are not the 980" in problem for problem in training_problems(record))


@pytest.mark.parametrize("bug", ["images", "labels"])
def test_a_root_set_of_a_client_is_refused(monkeypatch, bug) -> None:
    real = Root.of

    def of_a_client(scenario, seed, dataset):
        root = real(scenario, seed, dataset)
        others = {
            "images": dataset.train.images[: len(root.samples)],
            "labels": dataset.train.labels.numpy()[: len(root.samples)],
        }
        return dataclasses.replace(root, **{bug: others[bug]})

    monkeypatch.setattr(Root, "of", of_a_client)
    with pytest.raises(IdentityError, match="root set are not those of the test samples"):
        prepared(SMALL)
