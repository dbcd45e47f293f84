"""The names of a scenario on the wire: JSON, hashes, Flower's run config.

These are the fields that a scenario had before components owned their parameters. Documents have
all of them, None where no chosen component reads one, in this order; a newer parameter stands
behind them where it has a value. No name is ever added here.
"""

from __future__ import annotations

from typing import Final

NAMES: Final = (
    *("dataset", "image_size", "grayscale", "normalize", "model", "norm", "weights"),
    *("partition", "alpha", "classes_per_client", "class_assignment", "min_partition_size"),
    *("self_balancing", "partition_seed", "allow_incomplete"),
    *("num_clients", "fraction_train", "rounds", "eval_every", "validation_fraction"),
    *("optimizer", "lr", "momentum", "dampening", "nesterov", "mu", "weight_decay"),
    *("local_epochs", "batch_size"),
    *("strategy", "server_momentum", "server_lr", "num_byzantine", "num_selected"),
    *("trim_fraction", "beta_2", "tau", "norm_bound", "aggregation_iterations", "smoothing"),
    *("strategy_spec", "client_mods"),
    *("attack", "malicious_fraction", "poison_ratio", "source_class", "target_class", "redraw"),
    *("privacy", "epsilon", "delta", "clip_norm", "neighbours", "released", "buffers"),
    *("noise_multiplier", "sensitivity", "epsilon_budget"),
)
POSITION: Final = {name: place for place, name in enumerate(NAMES)}

#: A field of the scenario that attacks on data read as a parameter of theirs; always written.
MIRRORED: Final = "poison_ratio"
