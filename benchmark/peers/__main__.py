"""python -m benchmark.peers --work DIR --data-dir DIR --out FILE: W1 on fedcore and its peers.

Needs a checkout of fedcore, which is installed from it with the pins of its constraints.txt.
Makes an environment for each system in the work directory (several GB; kept), runs the systems in
turns, and prints medians and the ratios to the bare loop of the same repeat. ``--append`` adds
repeats to FILE, for machines that are free for minutes only.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .environments import InstallError, python_of, versions_of
from .measure import Result, measure
from .summary import summarise, table
from .systems import ROOT, SYSTEMS, System

SCHEMA = 1


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line, checked."""
    parser = argparse.ArgumentParser(prog="python -m benchmark.peers", description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="environments, outside the tree")
    parser.add_argument("--data-dir", type=Path, required=True, help="holds bloodmnist.npz")
    parser.add_argument("--out", type=Path, help="raw JSON of all runs")
    parser.add_argument("--only", nargs="+", metavar="NAME", help=f"of {', '.join(SYSTEMS)}")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each system (default 3)")
    parser.add_argument("--append", action="store_true", help="add to the repeats in --out FILE")
    parser.add_argument("--install", action="store_true", help="make the environments, run nothing")
    options = parser.parse_args(arguments)
    if not (ROOT / "constraints.txt").is_file():
        parser.error(
            f"{ROOT} is no checkout of fedcore, as it has no constraints.txt: run python -m "
            "benchmark.peers in the root of one"
        )
    strangers = [name for name in options.only or () if name not in SYSTEMS]
    if strangers:
        parser.error(f"unknown system {strangers[0]!r}. Known: {', '.join(SYSTEMS)}")
    if options.repeats < 1:
        parser.error(f"--repeats must be >= 1, got {options.repeats}")
    if options.work.resolve().is_relative_to(ROOT):
        parser.error(f"--work must lie outside {ROOT}: it holds gigabytes of environments")
    if not (options.data_dir / "bloodmnist.npz").is_file():
        parser.error(f"there is no bloodmnist.npz in {options.data_dir}")
    if options.append and options.out is None:
        parser.error("--append needs --out FILE")
    return options


def environment_of(work: Path, data_dir: Path) -> dict[str, str]:
    """Variables of every run: the user's, but for thread counts; no telemetry.

    Bytecode may be kept: what pip has installed brings its own, a checkout would not have any.
    """
    own = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "PYTHONDONTWRITEBYTECODE")
    kept = {k: v for k, v in os.environ.items() if k not in own}
    return kept | {
        "PYTHONPATH": str(ROOT),
        "W1_DATA": str(data_dir.resolve()),
        "FLWR_HOME": str(work.resolve() / "flwr"),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # Ray then listens on loopback only
        "WANDB_MODE": "disabled",
    }


def order(names: Sequence[str], repeat: int) -> list[str]:
    """The turns of a repeat: each starts one system later, so that none always follows another."""
    start = repeat % len(names)
    return [*names[start:], *names[:start]]


def machine() -> dict[str, Any]:
    """What the figures hold for."""
    lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": models[0] if models else platform.processor(),
        "avx512": any("avx512f" in line for line in lines if line.startswith("flags")),
        "cores": len(os.sched_getaffinity(0)),
        "memory": memory,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def commit() -> str | None:
    """The commit of this tree, with a + where tracked files differ; None outside git."""
    git = ["git", "-C", str(ROOT)]
    try:
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, check=True)
        dirty = subprocess.run([*git, "diff", "--quiet", "HEAD"], check=False).returncode
    except (OSError, subprocess.CalledProcessError):
        return None
    return head.stdout.decode().strip() + ("+" if dirty else "")


def install(systems: Iterable[System], work: Path) -> dict[str, Path | str]:
    """The Python of each system, or what kept it from being installed."""
    found: dict[str, Path | str] = {}
    for system in systems:
        print(f"environment of {system.name}", file=sys.stderr, flush=True)
        try:
            found[system.name] = python_of(system, work)
        except InstallError as error:
            found[system.name] = f"not installed: {error}"
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the comparison; 0 unless fedcore or the bare loop failed."""
    options = parse(arguments)
    # relative paths would mean other places in the runs, which start in the root of the tree
    work = options.work.resolve()
    systems = [SYSTEMS[name] for name in SYSTEMS if not options.only or name in options.only]
    pythons = install(systems, work)
    if options.install:
        for name, python in pythons.items():
            print(f"{name}: {python}")
        return 0
    kept: dict[str, Any] = {"repeats": [], "versions": {}}
    if options.append and options.out.exists():
        kept = json.loads(options.out.read_text())
    repeats: list[dict[str, Any]] = kept["repeats"]
    env = environment_of(work, options.data_dir)
    for _ in range(options.repeats):
        runs: dict[str, Any] = {}
        for name in order([system.name for system in systems], len(repeats)):
            python = pythons[name]
            if isinstance(python, str):
                result = Result(0.0, 0, 0, error=python)
            else:
                kept["versions"][name] = versions_of(SYSTEMS[name], python)
                result = measure([str(python), *SYSTEMS[name].arguments], env, ROOT)
            runs[name] = result.to_json()
            words = result.error or f"{result.total:.2f} s"
            print(f"repeat {len(repeats) + 1}, {name}: {words}", file=sys.stderr, flush=True)
        repeats.append(runs)
    rows = summarise([{name: r[name] for name in SYSTEMS if name in r} for r in repeats])
    document = {
        "schema": SCHEMA,
        "workload": "W1",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "machine": machine(),
        "versions": kept["versions"],
        "summary": rows,
        "repeats": repeats,
    }
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(document, indent=1) + "\n")
    print(table(rows, {name: SYSTEMS[name].about for name in SYSTEMS}))
    failed = [n for n in ("bare", "fedcore") if n in rows and rows[n]["failed"]]
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
