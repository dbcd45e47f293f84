"""What a single hostile reply does to a strategy: `python -m docs.flower.hostile` prints it.

Seven honest clients send the model moved by about 0.1, an eighth its opposite in one of the forms
of `docs.flower.forms`. The answer is one word for each strategy and form. ``--replies N`` then has
each strategy of fedcore's, and each of Flower's in `Hardened`, take N random ones
(`docs.flower.fuzz`).
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import Strategy

from docs.flower.arms import STOCK as STOCK
from docs.flower.arms import own, own_names, stock
from docs.flower.forms import CLIENTS, ENVELOPES, FORMS, SHAPES
from fedcore.flower.hardened import Hardened
from fedcore.flower.local import LocalGrid


def initial() -> ArrayRecord:
    """The model that is sent: zeros, and a counter at 5."""
    arrays = {name: np.zeros(shape, np.float32) for name, shape in SHAPES.items()}
    return ArrayRecord({**{k: Array(v) for k, v in arrays.items()}, "steps": Array(np.array(5))})


def clients(form: str) -> ClientApp:
    """Clients of which number 7 is hostile in ``form``."""
    app = ClientApp()

    @app.query()
    def who(message: Message, context: Context) -> Message:
        said = {name: int(context.node_config[name]) for name in ("partition-id", "num-partitions")}
        return Message(RecordDict({"metrics": MetricRecord(said)}), reply_to=message)

    @app.train()
    def train(message: Message, context: Context) -> Message:
        client = int(context.node_config["partition-id"])
        noise = np.random.default_rng(client)
        (sent,) = message.content.array_records.values()
        hostile = client == CLIENTS - 1 and form != "honest"
        arrays: dict[str, Any] = {}
        for name, array in sent.items():
            value = array.numpy()
            if value.dtype.kind == "i":
                arrays[name] = value + 2
                continue
            step = 0.1 + 0.01 * noise.standard_normal(value.shape)
            arrays[name] = np.asarray(value + (-step if hostile else step), value.dtype)
        metrics = {"num-examples": 10, "client": client, "steps": 2, "normalizer": 2.0}
        if hostile and form in FORMS:
            FORMS[form](arrays, metrics)
        made = ArrayRecord(
            {k: v if isinstance(v, Array) else Array(np.asarray(v)) for k, v in arrays.items()}
        )
        content = RecordDict({"arrays": made, "metrics": MetricRecord(metrics)})
        return Message(content, reply_to=message)

    return app


def model_after(strategy: Strategy, form: str) -> dict[str, np.ndarray[Any, Any]] | None:
    """The model after a round with the hostile reply ``form``; None where it is left as it was."""
    grid = LocalGrid(clients(form), CLIENTS)
    messages = strategy.configure_train(1, initial(), ConfigRecord(), grid)
    # Flower samples clients by Python's global generator; some verdicts depend on who comes first
    ordered = sorted(messages, key=lambda message: message.metadata.dst_node_id)
    replies = grid.send_and_receive(ordered)
    if form in ENVELOPES:
        replies = ENVELOPES[form](sorted(replies, key=lambda r: int(r.metadata.src_node_id)))
    arrays, _ = strategy.aggregate_train(1, replies)
    return None if arrays is None else {name: array.numpy() for name, array in arrays.items()}


def verdict(
    make: Callable[[], Strategy], form: str, reference: dict[str, Any] | None = None
) -> str:
    """What ``form`` does to a strategy.

    ``holds``: within 0.1 (the honest step) of the model without a hostile client; ``captured``:
    farther away; ``NaN``: not finite; ``reshaped``: other names or shapes; ``idle``: the round
    changes nothing; ``ends``: an exception. ``reference`` is the model without, where it is known.
    """
    reference = reference or model_after(make(), "honest")
    assert reference is not None
    try:
        made = model_after(make(), form)
    except Exception:  # whatever ends a stock strategy is the finding
        return "ends"
    if made is None:
        return "idle"
    if {k: v.shape for k, v in made.items()} != {k: v.shape for k, v in reference.items()}:
        return "reshaped"
    if not all(np.isfinite(value).all() for value in made.values()):
        return "NaN"
    off = max(float(np.abs(made[k] - reference[k]).max()) for k in SHAPES if k != "steps")
    late = not 0 <= float(made["steps"]) <= 100
    return "captured" if off > 0.1 or late else "holds"


Makers = Mapping[str, Callable[[], Strategy]]


def table(
    wrap: Callable[[Strategy], Strategy] = lambda strategy: strategy, makers: Makers | None = None
) -> list[list[str]]:
    """A row for each form: its name, then the verdict of each of ``makers`` (None: of `STOCK`)."""
    makers = {name: stock(name, wrap) for name in STOCK} if makers is None else makers
    forms = [form for form in (*FORMS, *ENVELOPES) if form != "honest"]
    references = [model_after(make(), "honest") for make in makers.values()]
    arms = list(zip(makers.values(), references, strict=True))
    return [[form, *(verdict(make, form, found) for make, found in arms)] for form in forms]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables: Flower's as they are and within `Hardened`, and fedcore's; fuzz them."""
    from tabulate import tabulate

    from docs.flower.fuzz import report

    parser = argparse.ArgumentParser(prog="python -m docs.flower.hostile", description=__doc__)
    parser.add_argument("--replies", type=int, default=0, help="random replies for each strategy")
    parser.add_argument("--seed", type=int, default=0, help="of the random replies")
    parser.add_argument("--no-tables", action="store_true", help="random replies alone")
    options = parser.parse_args(arguments)
    logging.getLogger("flwr").setLevel(logging.ERROR)
    np.seterr(all="ignore")
    ours: Makers = {name: own(name) for name in own_names()}
    if not options.no_tables:
        for title, makers in (
            ("Flower's strategies as they are", {name: stock(name) for name in STOCK}),
            ("Flower's strategies within Hardened", {n: stock(n, Hardened) for n in STOCK}),
            ("fedcore's strategies", ours),
        ):
            for first in range(0, len(makers), 10):  # as wide as a terminal is
                part = dict(list(makers.items())[first : first + 10])
                rows, heads = table(makers=part), ["reply", *part]
                text = tabulate(rows, heads, "simple", disable_numparse=True)
                print(f"{title}\n{text}\n", flush=True)
    if not options.replies:
        return 0
    wrapped = {f"Hardened({name})": stock(name, Hardened) for name in STOCK}
    return report({**ours, **wrapped}, options.replies, options.seed)


if __name__ == "__main__":
    raise SystemExit(main())
