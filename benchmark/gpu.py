"""What a GPU makes of the stacked engines: python -m benchmark.gpu --out DIR [--data-dir DIR].

Checks the stacked engine, without and with CUDA graphs, against the sequential one on the device,
then measures, and writes DIR/gpu.json after every section, so that nothing measured is lost to a
later failure:

- exactness: relative distance of the model after one round, float64 and float32
- ratio: stacked to sequential seconds per round, W1 and MobileNetV2 at 32 pixels, taking turns
- lockstep: training images/s of runs in lockstep, against central training in large batches
- study: one run of the preset study-fedavg as published, 100 rounds at 224 pixels
- factorial: what the better of these rates says about the study's full factorial

``--tiny`` makes every section small enough for a CPU, which has no graphs: it tests this script and
measures nothing.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from fedcore.data.loading import data_directory
from fedcore.engine.base import ENGINES
from fedcore.errors import FedcoreError
from fedcore.execution import Execution, choose_device
from fedcore.federation import Federation
from fedcore.lockstep import run_lockstep
from fedcore.models.dropout import StreamDropout
from fedcore.presets import preset
from fedcore.provenance import fingerprint, git_state
from fedcore.scenario import Scenario
from fedcore.simulation import run
from fedcore.streams import Purpose, torch_stream

#: Partitions, strategies, (malicious fraction, poison ratio) of the study; clean is (0, 0).
FACTORIAL = {"partitions": 7, "arms": 2, "attacks": 3 * 4 + 1}
#: Mean local epochs of the study's two arms, of which the first is the measured one.
EPOCHS = (2.0, 2.5)


class Bench:
    """The sections, on one device; ``tiny`` shrinks them to what a test can wait for."""

    def __init__(self, device: str, data_dir: Path, tiny: bool) -> None:
        self.device, self.data_dir, self.tiny = device, data_dir, tiny
        self.results: dict[str, Any] = {}
        cpu = choose_device(device).type == "cpu"
        self.engines = ("stacked",) if cpu else ("stacked", "stacked-graphs")

    def w1(self) -> Scenario:
        """W1, the workload of the CPU's throughput test, on real images."""
        scenario = preset("w1")
        if self.tiny:
            return scenario.but(dataset="synthetic:500", rounds=2, eval_every=2, num_clients=10)
        return scenario

    def mobilenet(self) -> Scenario:
        """W1's federation of MobileNetV2 at 32 pixels, batches of 64."""
        scenario = preset("w1").but(model="mobilenet_v2", image_size=32, batch_size=64)
        if self.tiny:
            return self.w1().but(model="cnn", norm="batch", batch_size=64)
        return scenario

    def exactness(self) -> dict[str, float]:
        """Relative distance to the sequential engine's updates of one round."""
        found = {}
        for name, scenario in (("w1", self.w1()), ("mobilenet", self.mobilenet())):
            for precision in ("float64", "float32"):
                updates = {
                    engine: self._updates(scenario, engine, precision)
                    for engine in ("sequential", *self.engines)
                }
                exact = updates.pop("sequential")
                for engine, own in updates.items():
                    gap = (own - exact).norm() / exact.norm()
                    found[f"{name} {engine} {precision}"] = float(gap)
        return found

    def _updates(self, scenario: Scenario, engine: str, precision: str) -> torch.Tensor:
        execution = Execution(engine, self.device, precision)
        device = execution.torch_device
        with execution.arithmetic():
            federation = Federation.prepare(scenario, 0, self.data_dir, device)
            made = ENGINES[engine](federation, execution)
            return made.train(made.initial_state(), 1, federation.cohort(1)).updates.clone()

    def ratio(self) -> dict[str, Any]:
        """Seconds of training per round of the engines in turns; the medians of their ratios."""
        found = {}
        for name, scenario in (("w1", self.w1()), ("mobilenet", self.mobilenet())):
            seconds: dict[str, list[float]] = {e: [] for e in ("sequential", *self.engines)}
            for turn in range(2 if self.tiny else 6):
                for engine, taken in seconds.items():
                    record = self._run(scenario, turn, engine)
                    if turn:  # the first one warms up
                        taken.append(record.timings.train / scenario.rounds)
            found[name] = {"seconds": seconds}
            for engine in self.engines:
                pairs = zip(seconds[engine], seconds["sequential"], strict=True)
                found[name][engine] = statistics.median(a / b for a, b in pairs)
        return found

    def lockstep(self) -> dict[str, Any]:
        """Training images/s of runs in lockstep, and of central training in large batches."""
        scenario, counts = self.mobilenet(), (1, 2) if self.tiny else (1, 4, 16, 32)
        central = self._central(scenario, 128 if self.tiny else 4096)
        found: dict[str, Any] = {"central": central}
        for engine in self.engines:
            for count in counts:
                runs = [(scenario, seed) for seed in range(count)]
                how = {"data_dir": self.data_dir, "device": self.device, "engine": engine}
                records = run_lockstep(runs, **how)
                trained = sum(record.examples for record in records)
                rate = trained / sum(r.timings.train for r in records)
                found[f"{count} runs, {engine}"] = rate
            found[f"share of central, {engine}"] = rate / central
        return found

    def study(self) -> dict[str, dict[str, float]]:
        """The published run by each engine; in tiny a small federation in its place."""
        scenario = self.w1().but(num_clients=10) if self.tiny else preset("study-fedavg")
        found = {}
        for engine in self.engines:
            begun = time.perf_counter()
            record = self._run(scenario, 0, engine)
            found[engine] = {
                "seconds": time.perf_counter() - begun,
                "train seconds": record.timings.train,
                "evaluate seconds": record.timings.evaluate,
                "training images": record.examples,
                "training images/s": record.examples / record.timings.train,
                "tail accuracy": record.tail_accuracy,
            }
        return found

    def factorial(self) -> dict[str, float]:
        """Hours for the study's full factorial, one seed, at the best rate of its published run."""
        one = min(self.results["study"].values(), key=lambda found: found["seconds"])
        each = FACTORIAL["partitions"] * FACTORIAL["attacks"]
        work = [one["train seconds"] * epochs / EPOCHS[0] for epochs in EPOCHS]
        rest = one["seconds"] - one["train seconds"]
        seconds = sum(each * (train + rest) for train in work)
        return {"runs": each * FACTORIAL["arms"], "hours": seconds / 3600}

    def _run(self, scenario: Scenario, seed: int, engine: str) -> Any:
        return run(scenario, seed, data_dir=self.data_dir, device=self.device, engine=engine)

    def _central(self, scenario: Scenario, batch: int) -> float:
        """Images/s of plain SGD on all training images, in the same model and precision."""
        execution = Execution("sequential", self.device)
        device = execution.torch_device
        with execution.arithmetic():
            federation = Federation.prepare(scenario, 0, self.data_dir, device)
            model = federation.initial_model().to(device, memory_format=torch.channels_last)
            for module in model.modules():
                if isinstance(module, StreamDropout):
                    module.seed(torch_stream(0, Purpose.DROPOUT, device=device))
            optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
            labels = federation.dataset.train.labels.to(device)
            steps, begun = (2, 1) if self.tiny else (30, 5)
            for step in range(steps):
                if step == begun:
                    started = self._now()
                chosen = torch.randint(len(labels), (batch,), device=device)
                images = federation.transform(federation.train_images[chosen])
                optimizer.zero_grad()
                F.cross_entropy(model(images), labels[chosen]).backward()
                optimizer.step()
            return batch * (steps - begun) / (self._now() - started)

    def _now(self) -> float:
        if self.device != "cpu":
            torch.cuda.synchronize()
        return time.perf_counter()


def main(arguments: list[str] | None = None) -> int:
    """Run the sections that are asked for; 1 if one of them failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmark.gpu", description=__doc__)
    sections = ("exactness", "ratio", "lockstep", "study", "factorial")
    parser.add_argument("--out", type=Path, required=True, help="where gpu.json is written")
    parser.add_argument("--data-dir", help="data sets and weights")
    parser.add_argument("--device", default=None, help="default: cuda, or with --tiny the CPU")
    parser.add_argument("--only", nargs="+", choices=sections, default=sections)
    parser.add_argument("--tiny", action="store_true", help="seconds on a CPU; measures nothing")
    options = parser.parse_args(arguments)
    device = options.device or ("cpu" if options.tiny else "cuda")
    try:
        execution = Execution("stacked", device)
    except FedcoreError as error:
        print(f"{error}; --tiny tests this script on a CPU", file=sys.stderr)
        return 2
    options.out.mkdir(parents=True, exist_ok=True)
    bench = Bench(device, data_directory(options.data_dir), options.tiny)
    commit, dirty = git_state()
    head = {"machine": fingerprint(execution.torch_device), "commit": commit, "dirty": dirty}
    failed = 0
    for section in options.only:
        measure: Callable[[], Any] = getattr(bench, section)
        begun = time.perf_counter()
        try:
            bench.results[section] = measure()
        except Exception as error:  # the other sections are worth having all the same
            bench.results[section] = {"error": f"{type(error).__name__}: {error}"}
            failed = 1
        print(f"{section} ({time.perf_counter() - begun:.0f} s): {bench.results[section]}")
        report = {**head, "tiny": options.tiny, **bench.results}
        (options.out / "gpu.json").write_text(json.dumps(report, indent=1) + "\n")
    return failed


if __name__ == "__main__":
    sys.exit(main())
