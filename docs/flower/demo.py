"""`python -m docs.flower.demo`: a deployment from keys to records, a node killed, one late.

The SuperLink must answer nobody who has the CA's certificate alone. Then three rounds with all four
SuperNodes, one of them malicious: the model must be bit for bit that of the run in process. Then,
with one SuperNode late, another is killed after round 1, and a registered one claims the late one's
partition.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from docs.flower.deployment import Deployment
from docs.flower.doors import answers, open_doors
from docs.flower.keys import make_node_key
from fedcore.errors import FedcoreError
from fedcore.records.record import Record
from fedcore.scenario import Scenario
from fedcore.simulation.runner import run

NODES, LATE, KILLED = 4, 3, 1
IMPOSTOR = "impostor"
# Of the run that is disturbed: its first line may be read when later rounds are under way, and the
# late node needs seconds to start, so that which round finds one gone and one come is left open.
ROUNDS = 5
SCENARIO = Scenario(
    dataset="synthetic:400",
    norm="batch",
    num_clients=NODES,
    fraction_train=1.0,
    rounds=3,
    local_epochs=(1, 3),
    optimizer="sgd",
    strategy="fednova",
    attack="labelflip",
    malicious_fraction=0.25,
    poison_ratio=1.0,
)


def config_of(scenario: Scenario) -> dict[str, object]:
    """The run config of ``scenario``: what differs from the defaults."""
    default = Scenario().to_dict()
    values = {k: v for k, v in scenario.to_dict().items() if v is not None and v != default[k]}
    return {
        key.replace("_", "-"): "-".join(map(str, value)) if isinstance(value, list) else value
        for key, value in values.items()
    }


def whole(deployment: Deployment, scenario: Scenario, *, strict: bool = True) -> Record:
    """A run with every SuperNode; unless ``strict``, those that refuse are left out."""
    how = {"device": "cpu", "strict": strict}
    return _run(deployment, scenario, how, after_first=lambda: None)


def disturbed(deployment: Deployment, scenario: Scenario, patience: float) -> Record:
    """A run that begins with an impostor for the late node, and loses another after round 1.

    ``patience`` are the seconds that a round waits for replies.
    """
    make_node_key(deployment.folder, IMPOSTOR)
    deployment.flwr("supernode", "register", str(deployment.folder / f"{IMPOSTOR}.pub"))
    deployment.start_node(LATE, key=IMPOSTOR)

    def disturb() -> None:
        deployment.kill_node(KILLED)
        deployment.start_node(LATE)
        print(f"SuperNode {KILLED} is killed, SuperNode {LATE} comes late", flush=True)

    how = {"device": "cpu", "min-clients": NODES - 1, "strict": False, "timeout": patience}
    return _run(deployment, scenario, how, after_first=disturb)


def _run(
    deployment: Deployment,
    scenario: Scenario,
    how: dict[str, object],
    after_first: Callable[[], None],
) -> Record:
    place = deployment.folder / f"record-{time.monotonic_ns()}.json"
    config = {**config_of(scenario), **how, "json": str(place), "engine": "flower-deployment"}
    config["node-keys"] = str(deployment.keys)
    for line in deployment.run(config):
        print(line, flush=True)
        if line.split()[:1] == [f"1/{scenario.rounds}"]:
            after_first()
    if not place.exists():
        raise FedcoreError(f"no record was written: {deployment.log('superlink')[-2000:]}")
    return Record.from_json(place.read_text())


def refused(deployment: Deployment, seconds: float = 120) -> bool:
    """Whether a SuperNode with an unregistered key is turned away."""
    make_node_key(deployment.folder, "stranger")
    process = deployment.start_node(0, key="stranger")
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        return False
    return process.returncode != 0 and "Failed to activate SuperNode" in deployment.log("stranger")


def findings_of(record: Record) -> dict[str, bool]:
    """Whether a `disturbed` run survived its killed node, and whether its late one joined.

    Gone means left out of every round from some round after the first on.
    """
    rounds = range(1, record.scenario.rounds + 1)
    without: dict[int, list[int]] = {client: [] for client in range(NODES)}
    for exclusion in sorted(record.audit.excluded, key=lambda e: e.round):
        without[exclusion.client].append(exclusion.round)
    gone = len(without[KILLED])
    return {
        "the run survives the killed node": len(record.accuracy) == len(rounds)
        and 0 < gone < len(rounds)
        and without[KILLED] == list(rounds[-gone:]),
        "the late node joins": 1 in without[LATE] and len(without[LATE]) < len(rounds),
    }


def names_impostor(record: Record) -> bool:
    """Whether the record of a `disturbed` run says who claimed a partition of another's key."""
    start = f"it claims partition {LATE} of {NODES}, and its key SHA256:"
    end = "is not among node-keys"
    return any(start in note and note.endswith(end) for note in record.audit.notes)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demonstration; 0 if everything held."""
    parser = argparse.ArgumentParser(prog="python -m docs.flower.demo", description=__doc__)
    parser.add_argument("--folder", help="keeps keys, logs and records (default: a temporary one)")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(options.folder or temporary).resolve() / "deployment"
        with Deployment(folder, NODES) as deployment:
            found = answers(deployment.port, deployment.folder / "ca.crt")
            findings = {
                "the CA's certificate alone opens no door": not open_doors(found),
                "a stranger's key is refused": refused(deployment),
            }
            for node in range(NODES):
                deployment.start_node(node)
            record = whole(deployment, SCENARIO)
            plain = run(SCENARIO, device="cpu")
            findings["the model is that of the run in process, bit for bit"] = (
                record.model_digest,
                record.accuracy,
                record.audit,
            ) == (plain.model_digest, plain.accuracy, plain.audit)
            deployment.stop_node(LATE)
            # a round of this machine, thrice: what is slow is not lost
            patience = max(20.0, 3 * record.timings.train / SCENARIO.rounds)
            record = disturbed(deployment, SCENARIO.but(rounds=ROUNDS), patience)
            findings |= findings_of(record)
            findings["a registered key that claims another's partition is left out by name"] = (
                names_impostor(record)
            )
    for finding, holds in findings.items():
        print(f"{'yes' if holds else 'NO':>4}  {finding}")
    return 0 if all(findings.values()) else 1


if __name__ == "__main__":
    # ended by SIGTERM it must end what it has started, as it does at Ctrl-C
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    raise SystemExit(main())
