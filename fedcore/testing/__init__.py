"""Checks for components of others: one call runs all that fedcore's own components are held to."""

from fedcore.testing.check import check_component

__all__ = ["check_component"]
