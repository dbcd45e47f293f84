"""An attack on labels with a parameter."""

from fedcore.attacks.attack import ATTACKS, LabelAttack
from fedcore.components import param
from fedcore.streams import Generator, Indices


@ATTACKS.register("shift", "every class is taken for a later one")
class Shift(LabelAttack):
    """y' = (y + by) mod C, for all poisoned samples alike."""

    by: int = param("classes to shift by", default=1, low=1)

    def relabel(self, labels: Indices, num_classes: int, generator: Generator) -> Indices:
        """The shifted labels, [k] int64."""
        return (labels + self.by) % num_classes

    def data_problems(self, num_classes: int, shape: tuple[int, int, int]) -> list[str]:
        """A shift that leaves every label as it is."""
        if self.by % num_classes:
            return []
        return [f"by={self.by} shifts {num_classes} classes onto themselves: choose another"]
