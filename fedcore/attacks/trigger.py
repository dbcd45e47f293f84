"""Triggers: what a backdoor adds to an image so that a poisoned model knows it."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from fedcore.attacks.attack import Images
from fedcore.components.component import Component
from fedcore.components.kinds import TRIGGERS as TRIGGERS


class Trigger(Component):
    """Base of all triggers; subclasses are registered in `TRIGGERS`."""

    kind: ClassVar[str] = "trigger"

    @abstractmethod
    def stamp(self, images: Images) -> Images:
        """``images`` [k, height, width, channels] uint8 with the trigger; a copy."""

    def data_problems(self, shape: tuple[int, int, int]) -> list[str]:
        """Why images of ``shape``, (height, width, channels), cannot take it, as messages."""
        return []
