"""Which class a suite's targeted flip takes for which other, on any data set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fedcore.data.loading import known_classes

if TYPE_CHECKING:
    from fedcore.harness.options import Options

_SOURCE, _TARGET, _FEW = 1, 7, 0


def targeted_flip(options: Options) -> dict[str, Any]:
    """The attack as changes of a scenario: 1 to 7, or 1 to 0 where the data set has no class 7.

    Where the number of classes is not known without a download it is 1 to 7.
    """
    classes = known_classes(options.dataset, options.data_dir)
    target = _TARGET if classes is None or classes > _TARGET else _FEW
    return {"attack": "targetedflip", "source_class": _SOURCE, "target_class": target}
