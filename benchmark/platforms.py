"""Real differences of platforms: ``python -m benchmark.platforms`` runs recorded arms on others.

The recorded arms of profile quick (mnist5k, without MobileNetV2) run anew on emulated platforms,
each in a process of its own: torch, oneDNN and fedcore's kernels are told to compute with other
instructions. What a run comes to there, beside its recorded value, is written by arm and seed.
`benchmark.noise` fits the scales of the gate for other machine classes to it.

    python -m benchmark.platforms [--platform NAME] [--seeds N] [--out FILE]

takes about 5 CPU minutes for each platform and 3 seeds. On another machine than the recorded one
``--platform native`` adds a real platform. Platforms that are not run stay in the file.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fedcore import Scenario
from fedcore.harness.baselines.file import Baseline, lines
from fedcore.harness.exact.machine_class import machine_class
from fedcore.harness.runs.job import Failure
from fedcore.harness.suite.lab import Lab
from fedcore.harness.suite.options import Options
from fedcore.harness.suite.thresholds import Thresholds
from fedcore.records.stamp import stamp
from fedcore.records.store import Run, write_atomically

from .suite import quick

FOLDER = Path(__file__).parent
DATASET = "mnist5k"
OUT = FOLDER / "results" / f"platform-differences-{DATASET}.json"
SCHEMA = 1
#: Settings of the environment that make a machine compute as another one does.
EMULATED: Mapping[str, Mapping[str, str]] = {
    "avx2": {"ATEN_CPU_CAPABILITY": "avx2"},
    "avx2-nokernels": {
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "FEDCORE_NATIVE": "0",
    },
    "default-nokernels": {"ATEN_CPU_CAPABILITY": "default", "FEDCORE_NATIVE": "0"},
}
NATIVE = "native"


class PlatformError(Exception):
    """A run that failed, or recorded values that are missing."""


def recorded() -> Baseline:
    """The first recorded baseline of the data set by name. PlatformError where there is none."""
    path = min((FOLDER / "baselines" / f"{DATASET}-quick-cpu").glob("*.json"), default=None)
    if path is None:
        raise PlatformError(f"no baseline of {DATASET} is recorded: pytest --update-baseline")
    return Baseline.read(path)


def arms(baseline: Baseline) -> dict[str, Scenario]:
    """The recorded arms that are run, by the id of the scenario, in the order of the suite."""
    found = {}
    for cell in quick(Options(dataset=DATASET, device="cpu")):
        for arm in (cell.scenario.clean_twin(), cell.scenario):
            if arm.model == "cnn" and arm.hash in baseline.traces:
                found[arm.id] = arm
    return found


def measure(seeds: int, results: Path, every: int = 1) -> dict[str, Any]:
    """Run each ``every``-th arm on this platform: its class, and what each seed came to."""
    baseline = recorded()
    options = Options(dataset=DATASET, device="cpu", jobs=1, results=results, fresh=True)
    lab = Lab(options, Thresholds.none())
    try:
        entries = {}
        for name, arm in list(arms(baseline).items())[::every]:
            known = baseline.traces[arm.hash]
            entries[name] = entry = {
                "strategy": arm.strategy,
                "partition": arm.partition,
                "attack": arm.attack,
                "hash": arm.hash,
                "before": {str(s): known[s].tail for s in range(seeds) if s in known},
                "now": {},
                "diverged_before": [s for s in known if known[s].diverged is not None],
                "diverged_now": [],
            }
            for seed in map(int, entry["before"]):
                record = lab.result(Run(arm, seed))
                if isinstance(record, Failure):
                    raise PlatformError(f"{name}, seed {seed}: {record.message}")
                entry["now"][str(seed)] = 100 * record.tail_accuracy
                if record.diverged is not None:
                    entry["diverged_now"].append(seed)
                if record.tail_asr is not None:
                    shares = known[seed].asr
                    assert shares is not None
                    last = len(record.rounds) - len(record.asr or ())
                    assert last == 0
                    entry.setdefault("asr_before", {})[str(seed)] = _tail_asr(shares)
                    entry.setdefault("asr_now", {})[str(seed)] = 100 * record.tail_asr
        head = {"class": machine_class(lab.fingerprint), "fingerprint": lab.fingerprint}
        return {**head, "recorded_on": baseline.machine_class, "arms": entries}
    finally:
        lab.close()


def _tail_asr(shares: Sequence[float]) -> float:
    from fedcore.records.record import tail_mean

    return 100 * tail_mean(tuple(shares))


def on(platform: str, seeds: int, every: int = 1) -> dict[str, Any]:
    """`measure` in a process of its own with the settings of ``platform``."""
    settings = EMULATED.get(platform, {})
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "platform.json"
        command = [sys.executable, "-m", "benchmark.platforms", "--child", str(out)]
        subprocess.run(
            [*command, "--seeds", str(seeds), "--every", str(every)],
            env={**os.environ, **settings},
            check=True,
        )
        content = json.loads(out.read_text(encoding="utf-8"))
    return {"settings": dict(settings), **content}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the platforms and write what they differ by."""
    parser = argparse.ArgumentParser(description="differences between platforms, measured")
    known = [*EMULATED, NATIVE]
    parser.add_argument("--platform", action="append", choices=known, help="default: avx2 ones")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--every", type=int, default=1, help="run every N-th arm only")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.child is not None:
        with tempfile.TemporaryDirectory() as folder:
            content = measure(given.seeds, Path(folder), given.every)
        given.child.write_text(json.dumps(content), encoding="utf-8")
        return
    old = json.loads(given.out.read_text(encoding="utf-8")) if given.out.exists() else {}
    platforms = dict(old.get("platforms", {}))
    for name in given.platform or ["avx2", "avx2-nokernels"]:
        platforms[name] = on(name, given.seeds, given.every)
        repeat = f"python -m benchmark.platforms --platform {name} --seeds {given.seeds}"
        repeat += f" --every {given.every}" * (given.every > 1)
        platforms[name] = {**stamp(SCHEMA, repeat), **platforms[name]}
        content = {"schema": SCHEMA, "dataset": DATASET, "platforms": platforms}
        write_atomically(given.out, lines(content, depth=4) + "\n")


if __name__ == "__main__":
    main()
