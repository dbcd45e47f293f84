"""Scenarios: what defines an experiment, how it is checked and how it is named."""

from fedcore.scenario.scenario import Scenario, round_half_up

__all__ = ["Scenario", "round_half_up"]
