"""What 10,000 clients cost: memory that does not grow with them, time linear in the cohort."""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

import pytest

from fedcore import Scenario
from fedcore.execution import Execution
from fedcore.harness import cold
from fedcore.harness.figures import proportion_figure
from fedcore.harness.options import Options
from fedcore.harness.timing import RoundTimer

SAMPLES, CLIENTS = 100_000, 10_000
COHORTS = (25, 50, 100)
COHORT = 100

pytestmark = [pytest.mark.timing, pytest.mark.benchmark(group="scale", warmup=False)]


@pytest.fixture(autouse=True)
def _profile(suite_options: Options) -> None:
    if suite_options.profile == "smoke":
        pytest.skip("a case of profile quick")
    if suite_options.device == "cuda":
        pytest.skip("the sequential engine is timed on the CPU")


def plotted(milliseconds: dict[int, float], results: Path) -> str:
    """Where the milliseconds a round by cohort are plotted, for the remark."""
    try:
        figure = proportion_figure(milliseconds, "clients in the cohort", "ms a round")
    except ImportError:
        return "not plotted, matplotlib is not installed"
    path = results / "figures" / "scale.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(figure)
    return f"plotted in {path}"


def test_time_is_linear_in_the_cohort(benchmark, suite_options: Options, remark) -> None:
    """Seconds a client, in cohorts of 25 to 100 out of 10,000, measured in turns."""
    timers = {}
    for cohort in COHORTS:
        scenario = Scenario(
            dataset=f"synthetic:{SAMPLES}",
            model="mlp",
            num_clients=CLIENTS,
            fraction_train=cohort / CLIENTS,
            rounds=100,
        )
        timers[cohort] = RoundTimer(scenario, None, Execution("sequential", "cpu"))
    spent: dict[int, list[float]] = {cohort: [] for cohort in COHORTS}

    def turn() -> None:
        for cohort, timer in timers.items():
            spent[cohort].append(timer.seconds_per_round(5) / cohort)

    try:
        benchmark.pedantic(turn, rounds=5)
    finally:
        for timer in reversed(timers.values()):
            timer.close()
    each = {cohort: 1e3 * statistics.median(seconds) for cohort, seconds in spent.items()}
    benchmark.extra_info["milliseconds_per_client"] = {k: round(v, 3) for k, v in each.items()}
    shown = ", ".join(f"{ms:.2f} in a cohort of {cohort}" for cohort, ms in each.items())
    where = plotted({n: n * ms for n, ms in each.items()}, suite_options.results)
    remark(f"{CLIENTS:,} clients: milliseconds a client are {shown}; {where}")
    assert max(each.values()) <= 1.5 * min(each.values()), each


def test_memory_does_not_grow_with_the_clients(benchmark, remark) -> None:
    """Peak memory of ``fedcore run`` on the same samples, dealt to 100 and to 10,000 clients."""
    peaks: dict[int, float] = {}

    def measure() -> None:
        for clients in (COHORT, CLIENTS):
            command = [sys.executable, "-m", "fedcore", "run", "--dataset", f"synthetic:{SAMPLES}"]
            command += ["--model", "mlp", "--num-clients", str(clients)]
            command += ["--cohort-size", str(COHORT), "--rounds", "2"]
            command += ["--device", "cpu", "--processes", "1"]
            peaks[clients] = cold.peak_memory(command) / 1e6

    benchmark.pedantic(measure)
    benchmark.extra_info["peak_megabytes"] = {k: round(v) for k, v in peaks.items()}
    remark(
        f"peak memory: {', '.join(f'{mb:.0f} MB with {n:,} clients' for n, mb in peaks.items())}"
    )
    assert peaks[CLIENTS] <= 1.1 * peaks[COHORT], peaks
