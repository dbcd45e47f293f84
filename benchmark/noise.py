"""What is known about noise, estimated from recorded values: ``python -m benchmark.noise``.

Writes two files, by these rules:

- ``benchmark/noise.toml``: priors for the deviations between seeds, by kind of partition and
  metric, from the variances of all cells in ``baselines/`` (`statistics.prior.fit`).
- ``fedcore/harness/statistics/platforms.toml``: how far a run moves between machine classes, by
  stratum, from the replicates in ``results/platform-differences-*.json``. Of each stratum the
  platform with the largest scale counts, times `margin`: an unknown platform may be further away,
  and few replicates say little.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from fedcore.harness.baselines.file import Baseline
from fedcore.harness.statistics.prior import FEWEST, Trend, fit
from fedcore.harness.statistics.scales import FILE as PLATFORMS
from fedcore.harness.statistics.scales import cauchy_scale
from fedcore.records.provenance import code_digest, git_state
from fedcore.records.store import write_atomically

FOLDER = Path(__file__).parent
NOISE = FOLDER / "noise.toml"
DATASETS = ("mnist5k", "bloodmnist")
#: The least factor on a measured scale.
MARGIN = 1.25

#: Values of a metric by seed, by (kind of partition, metric).
Strata = dict[tuple[str, str], list[list[float]]]


def sources() -> list[Path]:
    """The first recorded baseline of each data set by name, profile quick."""
    folders = [FOLDER / "baselines" / f"{dataset}-quick-cpu" for dataset in DATASETS]
    return [path for folder in folders for path in sorted(folder.glob("*.json"))[:1]]


def recorded(paths: Iterable[Path]) -> Strata:
    """What the cells of the baselines in ``paths`` measured; a clean twin counts once."""
    found: Strata = {}
    for path in paths:
        for entry in Baseline.read(path).entries.values():
            partition = str(entry.scenario["partition"])
            values = {m: list(by_seed.values()) for m, by_seed in entry.values.items()}
            if "poisoned" in values:  # its clean values stand with the clean cell
                pairs = zip(values.pop("clean"), values["poisoned"], strict=True)
                values["drop"] = [clean - poisoned for clean, poisoned in pairs]
            for metric, some in values.items():
                if len(some) > 1:
                    found.setdefault((partition, metric), []).append(some)
    return found


def priors(strata: Strata) -> dict[tuple[str, str], Trend]:
    """The prior of every stratum that has enough cells."""
    return {
        stratum: fit(
            [statistics.variance(values) for values in cells],
            [len(values) - 1 for values in cells],
            [math.fsum(values) / len(values) for values in cells],
        )
        for stratum, cells in sorted(strata.items())
        if len(cells) >= FEWEST
    }


def replicates(paths: Iterable[Path]) -> Iterator[tuple[str, str, str, str, int, float]]:
    """(platform, stratum, arm, strategy, seed, difference in points) of every recorded replicate.

    An attack success rate is a row of its own, of stratum "asr".
    """
    for path in paths:
        content = json.loads(path.read_text(encoding="utf-8"))
        for platform, measured in content["platforms"].items():
            for arm, entry in measured["arms"].items():
                for stratum, before, now in (
                    (entry["partition"], "before", "now"),
                    ("asr", "asr_before", "asr_now"),
                ):
                    for seed, value in entry.get(now, {}).items():
                        difference = value - entry[before][seed]
                        yield platform, stratum, arm, entry["strategy"], int(seed), difference


def difference_files() -> list[Path]:
    """The files that `benchmark.platforms` has written."""
    return sorted((FOLDER / "results").glob("platform-differences-*.json"))


def margin(count: int) -> float:
    """The factor on the scale of ``count`` differences: its upper bound at 90 %, or `MARGIN`.

    The logarithm of a Cauchy scale that is fitted by likelihood has variance 2 / n.
    """
    return max(MARGIN, math.exp(1.2816 * math.sqrt(2 / count)))


def scales(
    rows: Iterable[tuple[str, str, str, str, int, float]],
) -> dict[str, dict[str, tuple[float, int]]]:
    """(Cauchy scale in points, number) of the differences in ``rows`` by stratum and platform."""
    found: dict[str, dict[str, list[float]]] = {}
    for platform, stratum, *_, difference in rows:
        found.setdefault(stratum, {}).setdefault(platform, []).append(difference)
    return {
        stratum: {name: (cauchy_scale(some), len(some)) for name, some in platforms.items()}
        for stratum, platforms in found.items()
    }


def head(of: Iterable[Path]) -> str:
    """The first lines of both files."""
    commit, dirty = git_state()
    lines = ["# Made by `python -m benchmark.noise`: run that again, change nothing here."]
    made = {"commit": f"{commit}{' with changes' * bool(dirty)}", "code": code_digest()}
    made["from"] = ", ".join(str(path.relative_to(FOLDER)) for path in of)
    machines = dict.fromkeys(name for path in of for name in _classes(path))
    made["machines"] = "; ".join(machines)
    return "\n".join([*lines, "", "[made]", *(f'{k} = "{v}"' for k, v in made.items()), ""])


def _classes(path: Path) -> list[str]:
    content = json.loads(path.read_text(encoding="utf-8"))
    if "platforms" in content:
        return [f"{name}: {one['class']}" for name, one in content["platforms"].items()]
    return [str(content["class"])]


def noise_text(trends: Mapping[tuple[str, str], Trend], of: Iterable[Path]) -> str:
    """The content of noise.toml. See `Trend` for the fields."""
    lines = [head(list(of))]
    for (partition, metric), trend in trends.items():
        lines.append(f"[{partition}.{metric}]")
        known = {name: value for name, value in vars(trend).items() if math.isfinite(value)}
        lines += [f"{name} = {_number(value)}" for name, value in known.items()]
        lines.append("")
    return "\n".join(lines)


def platforms_text(
    by_stratum: Mapping[str, Mapping[str, tuple[float, int]]], of: Iterable[Path]
) -> str:
    """The content of platforms.toml."""
    said = "# [Cauchy scale of what runs differ by in points, number of differences], by platform"
    lines = [head(list(of)), said]
    for stratum, platforms in by_stratum.items():
        lines.append(f"[measured.{stratum}]")
        lines += [f"{name} = [{_number(v)}, {n}]" for name, (v, n) in platforms.items()]
        lines.append("")
    lines += [f"# the largest one, times {MARGIN:g} or, of few differences, more", "[scale]"]
    for stratum, platforms in by_stratum.items():
        largest = max(scale for scale, _ in platforms.values())
        factor = margin(sum(n for _, n in platforms.values()))
        lines.append(f"{stratum} = {_number(factor * largest)}")
    return "\n".join(lines) + "\n"


def _number(value: Any) -> str:
    return str(value) if isinstance(value, int) else f"{value:#.4g}".replace("#", "")


def main() -> None:
    """Write both files; the second only where platforms have been measured."""
    write_atomically(NOISE, noise_text(priors(recorded(sources())), sources()))
    if files := difference_files():
        write_atomically(PLATFORMS, platforms_text(scales(replicates(files)), files))


if __name__ == "__main__":
    main()
