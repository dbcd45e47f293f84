"""What a GPU makes of the stacked engines: python -m benchmark.gpu --out DIR [--minutes N].

The most valuable measurement first, each in its own guard and time box. DIR/gpu.json is written
after each with the peak of the device's memory, so that nothing measured is lost. The program ends
by itself within ``--minutes``; what had no time is named in its place.

- exactness: relative distance of the stacked engines' updates to the sequential one's, cnn and
  MobileNetV2, float64 and float32, with and without CUDA graphs
- rates: W1 by rounds/s and examples/s: sequential, stacked, CUDA graphs, lockstep of 8 and 32
- central: MobileNetV2 at 28 and 224 pixels in lockstep, as a share of central training in large
  batches, in float32, TF32 and bfloat16
- aggregation: 50 x 1 M and 50 x 10 M parameters by robust rules, against plain definitions
- attacks: each attack on updates, beside a round's training
- factorial: hours for the study's full factorial at 32 pixels, from ten rounds of its runs
- study: one run of the preset study-fedavg as published, 100 rounds at 224 pixels

``--tiny`` makes every section small enough for a CPU, which has no graphs: it tests this script and
measures nothing. Needed are torch, torchvision, numpy and scipy, and pytest for the factorial;
neither flwr nor mlxtend. The data are BloodMNIST from --data-dir, or generated images.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

from fedcore.data.loading import data_directory
from fedcore.engine.execution import Execution
from fedcore.errors import FedcoreError
from fedcore.records.provenance import fingerprint, git_state

from .aggregation import aggregation, attacks
from .boxes import last_call
from .central import central
from .exactness import exactness
from .factorial import factorial
from .measurements import Measurements, Setting
from .rates import rates
from .study import study
from .workloads import w1

SECTIONS: dict[str, Callable[[Setting], None]] = {
    "exactness": exactness,
    "rates": rates,
    "central": central,
    "aggregation": aggregation,
    "attacks": attacks,
    "factorial": factorial,
    "study": study,
}
#: Share of the minutes that a section may take; what it leaves is the next one's.
SHARES = {
    "exactness": 0.15,
    "rates": 0.2,
    "central": 0.25,
    "aggregation": 0.1,
    "attacks": 0.05,
    "factorial": 0.15,
    "study": 0.1,
}
#: Seconds after the minutes at which a call that never returns is ended with the program.
GRACE = 10.0


def main(arguments: list[str] | None = None) -> int:
    """Run the sections that are asked for; 1 if a measurement failed."""
    begun = time.monotonic()
    parser = argparse.ArgumentParser(
        prog="python -m benchmark.gpu",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, required=True, help="where gpu.json is written")
    parser.add_argument("--minutes", type=float, default=8.0, help="wall time (default: 8)")
    parser.add_argument("--data-dir", help="data sets and weights")
    parser.add_argument("--device", default=None, help="default: cuda, or with --tiny the CPU")
    parser.add_argument("--only", nargs="+", choices=tuple(SECTIONS), default=tuple(SECTIONS))
    parser.add_argument("--tiny", action="store_true", help="seconds on a CPU; measures nothing")
    options = parser.parse_args(arguments)
    if not options.minutes > 0:
        parser.error(f"--minutes must be > 0, got {options.minutes:g}")
    device = options.device or ("cpu" if options.tiny else "cuda")
    try:
        chosen = Execution("stacked", device).torch_device
    except FedcoreError as error:
        print(f"{error}; --tiny tests this script on a CPU", file=sys.stderr)
        return 2
    options.out.mkdir(parents=True, exist_ok=True)
    commit, dirty = git_state()
    head = {"machine": fingerprint(chosen), "commit": commit, "dirty": dirty, "tiny": options.tiny}
    log = Measurements(options.out / "gpu.json", head, chosen)
    setting = Setting(device, data_directory(options.data_dir), options.tiny, log)
    head |= {"data": w1(setting).data, "minutes": options.minutes}
    end = begun + 60 * options.minutes
    share = dict(
        zip(options.only, _cumulated([SHARES[name] for name in options.only]), strict=True)
    )
    with last_call(end + GRACE):
        for section in options.only:
            log.deadline = begun + (end - begun) * share[section]
            try:
                SECTIONS[section](setting)
            except Exception as error:  # the other sections are worth having all the same
                log.note(section, "error", f"{type(error).__name__}: {error}")
                log.failed = True
        log.note("program", "seconds", round(time.monotonic() - begun, 1))
    return int(log.failed)


def _cumulated(shares: list[float]) -> list[float]:
    """The part of the time by which each section ends; the last one ends it."""
    return [sum(shares[: place + 1]) / sum(shares) for place in range(len(shares))]


if __name__ == "__main__":
    sys.exit(main())
