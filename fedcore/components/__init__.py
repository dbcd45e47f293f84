"""Components: what an experiment is put together from, and how anybody adds one."""

from fedcore.components.component import Component
from fedcore.components.parameters import REQUIRED, Spec, param

__all__ = ["REQUIRED", "Component", "Spec", "param"]
