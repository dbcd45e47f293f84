"""What a single hostile reply does to a strategy: `python -m docs.flower.hostile` prints it.

Seven honest clients send the model moved by about 0.1, an eighth its opposite in one of the forms
of `FORMS`. The answer is one word for each strategy and form.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import Strategy

from fedcore.flower.foreign import build
from fedcore.flower.local import LocalGrid
from fedcore.strategies.foreign import Spec

CLIENTS = 8
SHAPES = {"weight": (4, 3), "bias": (3,), "running_var": (3,), "steps": ()}
Forge = Callable[[dict[str, Any], dict[str, Any]], None]


def _with(value: float) -> Forge:
    def forge(arrays: dict[str, Any], metrics: dict[str, Any]) -> None:
        arrays["weight"] = arrays["weight"].copy()
        arrays["weight"][0, 0] = value

    return forge


def _array(name: str, value: Any) -> Forge:
    return lambda arrays, metrics: arrays.update({name: value})


def _metric(name: str, value: Any) -> Forge:
    return lambda arrays, metrics: metrics.update({name: value})


def _unreadable(arrays: dict[str, Any], metrics: dict[str, Any]) -> None:
    arrays["bias"] = Array("float32", (3,), "numpy.ndarray", b"no array")


#: How a reply is forged, by name; ``honest`` is the reference.
FORMS: dict[str, Forge] = {
    "honest": lambda arrays, metrics: None,
    "NaN": _with(np.nan),
    "inf": _with(np.inf),
    "3e38": _with(3e38),
    "shape": _array("bias", np.zeros(4, np.float32)),
    "(1,)": _array("bias", np.zeros(1, np.float32)),
    "missing": lambda arrays, metrics: arrays.pop("bias"),
    "extra": _array("more", np.zeros(3, np.float32)),
    "bytes": _unreadable,
    "metric": _metric("more", 1),
    "n=0": _metric("num-examples", 0),
    "n=-8": _metric("num-examples", -8),
    "n=1e12": _metric("num-examples", 10**12),
    "n=NaN": _metric("num-examples", float("nan")),
    "n=2^63": _metric("num-examples", 2**63),
    "int max": _array("steps", np.array(2**63 - 1)),
}


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
        if hostile:
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
    arrays, _ = strategy.aggregate_train(1, grid.send_and_receive(ordered))
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


STOCK = {
    "FedAvg": "",
    "FedAvgM": "",
    "FedProx": ':{"proximal_mu": 0.1}',
    "FedMedian": "",
    "FedTrimmedAvg": ':{"beta": 0.2}',
    "Krum": ':{"num_malicious_nodes": 1}',
    "MultiKrum": ':{"num_malicious_nodes": 1, "num_nodes_to_select": 5}',
    "Bulyan": ':{"num_malicious_nodes": 1}',
    "FedAdam": "",
    "FedYogi": "",
}


def table(wrap: Callable[[Strategy], Strategy] = lambda strategy: strategy) -> list[list[str]]:
    """A row for each form: its name, then the verdict of each strategy of `STOCK`."""
    forms = [form for form in FORMS if form != "honest"]
    makers = [_maker(name, wrap) for name in STOCK]
    references = [model_after(make(), "honest") for make in makers]
    arms = list(zip(makers, references, strict=True))
    return [[form, *(verdict(make, form, found) for make, found in arms)] for form in forms]


def _maker(name: str, wrap: Callable[[Strategy], Strategy]) -> Callable[[], Strategy]:
    text = f"flwr.serverapp.strategy:{name}{STOCK[name]}"
    return lambda: wrap(build(Spec.parse(text)))


def main(arguments: Iterable[str] = ()) -> None:
    """Print the tables: stock strategies as they are, then each within `Hardened`."""
    from tabulate import tabulate

    from fedcore.flower.hardened import Hardened

    logging.getLogger("flwr").setLevel(logging.ERROR)
    np.seterr(all="ignore")
    for title, rows in (("as they are", table()), ("within Hardened", table(Hardened))):
        print(f"{title}\n{tabulate(rows, ['reply', *STOCK], 'simple', disable_numparse=True)}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
