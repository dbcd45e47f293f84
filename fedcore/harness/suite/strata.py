"""The file of priors: what is known beforehand about the deviation between seeds, by stratum."""

from __future__ import annotations

from pathlib import Path

from fedcore.errors import FedcoreError
from fedcore.harness.statistics.prior import Trend
from fedcore.records.tables import read_toml, table


def read_strata(path: Path, error: type[FedcoreError]) -> dict[tuple[str, str], Trend]:
    """The priors in ``path`` by (kind of partition, metric), made by ``python -m benchmark.noise``.

    A table [PARTITION.METRIC] for each, with the fields of `Trend`. Raises ``error``.
    """
    content = read_toml(path, "noise", error)
    content.pop("made", None)
    return {
        (partition, metric): table(Trend, values, f"noise {path}, [{partition}.{metric}]", error)
        for partition, metrics in content.items()
        for metric, values in (metrics.items() if isinstance(metrics, dict) else ())
    }
