"""The mechanism of one run, made from its federation and engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fedcore.errors import PrivacyError
from fedcore.privacy.mechanism import Facts, Mechanism

if TYPE_CHECKING:
    from fedcore.engine.interface import Engine
    from fedcore.federation.federation import Federation
    from fedcore.privacy.noise import NoiseSource
    from fedcore.scenario import Scenario


def needs_reference_engine(scenario: Scenario) -> bool:
    """Whether clients must train otherwise than engines do that know nothing of privacy."""
    mechanism = scenario.parts.privacy
    return mechanism is not None and mechanism.trains(scenario)


def mechanism_of(
    federation: Federation, engine: Engine, noise: NoiseSource | None = None
) -> Mechanism | None:
    """The mechanism that the scenario names, None without one.

    Of an engine over a network it is the server's half. ``noise`` (None: the seeded stream) is
    what it draws from. Raises PrivacyError where the model lacks what is to be released, or where
    the engine would train as if nothing were to be private.
    """
    scenario = federation.scenario
    if scenario.parts.privacy is None:
        return None
    trains: Any = getattr(engine, "trains_privately", False)
    if needs_reference_engine(scenario) and not trains:
        raise PrivacyError(
            f"{type(engine).__name__} cannot train {scenario.id} as its privacy asks "
            "(dpsgd, released='head', or frozen statistics): choose --engine sequential"
        )
    samples = tuple(len(part) for part in federation.dealt)
    steps = tuple(int(count) for count in federation.steps[: len(samples)])
    facts = Facts(federation.seed, engine.layout, samples, steps)
    mechanism: Mechanism = scenario.parts.privacy.over(scenario, facts, noise)
    mechanism.run.clients = getattr(engine, "generators", None)
    return mechanism
