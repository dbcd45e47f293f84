"""What a GPU makes of the stacked engines: python -m benchmark.gpu --out DIR [--data-dir DIR].

Checks the stacked engine, without and with CUDA graphs, against the sequential one on the device,
then measures, and writes DIR/gpu.json after every measurement with the peak of the device's memory,
so that nothing measured is lost to a later failure:

- exactness: relative distance of the model after one round, float64 and float32
- ratio: stacked to sequential seconds per round, W1 and MobileNetV2 at 32 pixels, taking turns
- lockstep: training images/s of runs in lockstep, against central training in large batches
- aggregation: 50 x 1 M parameters on the device, by robust rules
- factorial: hours for the study's full factorial at 32 pixels, from a few rounds of its runs
- study: one run of the preset study-fedavg as published, 100 rounds at 224 pixels

``--tiny`` makes every section small enough for a CPU, which has no graphs: it tests this script and
measures nothing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from fedcore.data.loading import data_directory
from fedcore.engine.execution import Execution
from fedcore.errors import FedcoreError
from fedcore.records.provenance import fingerprint, git_state

from .aggregation import aggregation
from .factorial import factorial
from .measurements import Measurements, Setting
from .training import exactness, lockstep, ratio, study

SECTIONS: dict[str, Callable[[Setting], None]] = {
    "exactness": exactness,
    "ratio": ratio,
    "lockstep": lockstep,
    "aggregation": aggregation,
    "factorial": factorial,
    "study": study,
}


def main(arguments: list[str] | None = None) -> int:
    """Run the sections that are asked for; 1 if a measurement failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmark.gpu", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="where gpu.json is written")
    parser.add_argument("--data-dir", help="data sets and weights")
    parser.add_argument("--device", default=None, help="default: cuda, or with --tiny the CPU")
    parser.add_argument("--only", nargs="+", choices=tuple(SECTIONS), default=tuple(SECTIONS))
    parser.add_argument("--tiny", action="store_true", help="seconds on a CPU; measures nothing")
    options = parser.parse_args(arguments)
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
    for section in options.only:
        try:
            SECTIONS[section](setting)
        except Exception as error:  # the other sections are worth having all the same
            log.note(section, "error", f"{type(error).__name__}: {error}")
            log.failed = True
    return int(log.failed)


if __name__ == "__main__":
    sys.exit(main())
