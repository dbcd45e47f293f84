"""Names that a parameter cannot have, as scenarios and components use them themselves.

A scenario reads each parameter flat, so that one of the name of a field, a property or a method
would replace it there. Every component keeps these names free, whether a scenario holds it flat or
not.
"""

from __future__ import annotations

from typing import Final

#: Fields of a scenario, without `fedcore.scenario.wire.MIRRORED`, which attacks have as well.
FIELDS: Final = frozenset(
    (
        *("absent_fraction", "absent_rounds", "min_present"),
        *("allow_incomplete", "attack", "batch_size", "dataset", "eval_every", "fraction_train"),
        *(
            "grayscale",
            "image_size",
            "local_epochs",
            "local_steps",
            "lr",
            "malicious_fraction",
            "malicious_set",
            "model",
        ),
        *("normalize", "num_clients", "optimizer", "partition", "partition_seed", "parts"),
        *("preaggregation", "privacy", "probe", "rounds", "strategy", "validation_fraction"),
        "weight_decay",
    )
)
#: Methods and properties of a scenario.
MEMBERS: Final = frozenset(
    (
        *("but", "clean_twin", "cohort_size", "data", "declared", "epochs_range"),
        *(
            "evaluated_rounds",
            "from_dict",
            "hash",
            "id",
            "num_malicious",
            "rows",
            "specs",
            "steps_range",
        ),
        "to_dict",
    )
)
#: Options of `fedcore run`, whose flags would be two things.
OPTIONS: Final = frozenset(
    (
        *(
            "checkpoint",
            "checkpoint_every",
            "cohort_size",
            "data_dir",
            "device",
            "engine",
            "help",
            "json",
            "precision",
            "preset",
        ),
        *("processes", "quiet", "seed", "worker_timeout"),
    )
)


def refused(owner: type, name: str, inherited: object) -> str | None:
    """Why ``owner`` cannot have a parameter ``name``; None where it can.

    ``inherited`` is what its base classes have of that name, None for nothing and for parameters.
    """
    if name.startswith("_"):
        return f"{owner.__qualname__}.{name}: a parameter does not begin with '_': leave it out"
    if name in FIELDS | MEMBERS:
        what = "field" if name in FIELDS else "member"
        user = f"a scenario has the {what} {name!r} itself"
    elif name in OPTIONS:
        user = f"`fedcore run` has the option {name!r} itself"
    elif inherited is not None:
        user = f"components have the member {name!r} themselves"
    else:
        return None
    return f"{owner.__qualname__}.{name}: {user}: choose another name, such as 'my_{name}'"
