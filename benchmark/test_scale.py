"""What 10,000 clients cost: memory that does not grow with them, time linear in the cohort."""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

import pytest

from fedcore import Scenario
from fedcore.engine.execution import Execution
from fedcore.harness.measuring import commands
from fedcore.harness.measuring.rounds import RoundTimer
from fedcore.harness.reports.figures import proportion_figure
from fedcore.harness.suite.options import Options

SAMPLES, CLIENTS = 100_000, 10_000
COHORTS = (25, 50, 100)
COHORT = 100
#: Samples of each command's peak memory.
SAMPLES_OF_MEMORY = 3
#: What a client may add to the peak; -0.0 to 0.02 were measured, and a megabyte of noise is 0.1.
KILOBYTES_A_CLIENT = 0.5

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
    """Peak memory of ``fedcore run`` on the same samples, dealt to 100 and to 10,000 clients.

    The kernel's high-water mark of one process each, in turns: it repeats to a megabyte, where
    looks every 20 ms at the memory that is held gave 191 to 343 MB for one command. The peak of the
    imports hides the first 2 kB of each client: 3 kB that are kept are seen, 1 kB is not.
    """
    peaks: dict[int, list[float]] = {COHORT: [], CLIENTS: []}

    def turn() -> None:
        for clients, found in peaks.items():
            found.append(commands.high_water(command(clients)) / 1e6)

    benchmark.pedantic(turn, rounds=SAMPLES_OF_MEMORY)
    if not all(map(all, peaks.values())):
        pytest.skip("the kernel tells no high-water mark of a process (VmHWM)")
    least = {clients: min(found) for clients, found in peaks.items()}
    grown = 1e3 * (least[CLIENTS] - least[COHORT]) / (CLIENTS - COHORT)
    benchmark.extra_info["peak_megabytes"] = {k: [round(v) for v in f] for k, f in peaks.items()}
    shown = ", ".join(f"{mb:.0f} MB with {n:,} clients" for n, mb in least.items())
    remark(f"peak memory: {shown} ({grown:.2f} kB for each client more)")
    assert grown <= KILOBYTES_A_CLIENT, peaks


def command(clients: int) -> list[str]:
    """A run of two rounds with a cohort of `COHORT` of ``clients``, in one process."""
    run = [sys.executable, "-m", "fedcore", "run", "--dataset", f"synthetic:{SAMPLES}"]
    run += ["--model", "mlp", "--num-clients", str(clients), "--cohort-size", str(COHORT)]
    return [*run, "--rounds", "2", "--device", "cpu", "--processes", "1"]
