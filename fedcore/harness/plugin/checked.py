"""An outcome that a test checks, and what of it travels with the test's report."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pytest

from fedcore.harness.plugin.options import OPTIONS, spelled
from fedcore.harness.suite.command import base_command, named_places

if TYPE_CHECKING:
    from fedcore.harness.suite.outcome import Outcome


def repeat(config: pytest.Config) -> str:
    """The command line that selected this session, without -k and -m."""
    return spelled(config, base_command(config.stash[OPTIONS], named_places(config)))


class Checked:
    """An outcome that a test can check. Without ``limited`` nobody has set any limit."""

    def __init__(self, outcome: Outcome, config: pytest.Config, limited: bool = True) -> None:
        self.outcome = outcome
        self.config = config
        self.limited = limited

    def check(self) -> None:
        """Fail unless every gate holds; skip, saying so, where nothing can be concluded.

        A verdict that --fail-on names fails instead. Where the suite has no limits at all, a cell
        without one has been measured, which is all that was asked: it passes, and so does a cell of
        a matrix.
        """
        from fedcore.harness.reports.explain import explain
        from fedcore.harness.statistics.estimates import CellVerdict

        verdict = self.outcome.verdict
        failing = verdict.value in self.config.stash[OPTIONS].fail_on
        if (
            verdict is CellVerdict.MEASURED
            and self.outcome.cell.control == self.outcome.cell.scenario
        ):
            self._check_control()
        if verdict in (CellVerdict.PASS, CellVerdict.MEASURED):
            return
        if verdict is CellVerdict.NO_LIMIT and not self.limited and not failing:
            return
        text = spelled(self.config, explain(self.outcome, repeat(self.config)))
        if verdict in (CellVerdict.INCONCLUSIVE, CellVerdict.NO_LIMIT) and not failing:
            pytest.skip(text)
        pytest.fail(text, pytrace=False)

    def _check_control(self) -> None:
        """Skip where the attack has no shown effect on undefended averaging."""
        from fedcore.harness.reports.matrix import control_of
        from fedcore.harness.reports.rows import row

        control = control_of(row(self.outcome), self.outcome.noise)
        if not control["bites"]:
            drop = control["drop"]
            reach = "" if drop["low"] is None else f" [{drop['low']:.1f}, {drop['high']:.1f}]"
            pytest.skip(
                f"{self.outcome.cell.id}: undefended averaging loses {drop['mean']:.1f}{reach} "
                "points: the attack has no shown effect here, and its column proves nothing"
            )

    def properties(self) -> list[tuple[str, str]]:
        """Id, verdict and each gate, for JUnit."""
        outcome = self.outcome
        found = [("fedcore.id", outcome.cell.id), ("fedcore.verdict", outcome.verdict.name.lower())]
        for gate in outcome.gates:
            e = gate.estimate
            text = f"{e.mean:.4f} [{e.low:.4f}, {e.high:.4f}] n={e.seeds} {gate.threshold.limit}"
            found.append((f"fedcore.{gate.threshold.metric}", f"{text} ({gate.threshold.name})"))
        for name, reasons in (("void", outcome.voids), ("unlimited", outcome.unlimited)):
            found += [(f"fedcore.{name}", reason) for reason in reasons]
        return found


def publish(item: pytest.Item, properties: Iterable[tuple[str, str]]) -> None:
    """Set the ``properties`` of ``item`` for JUnit in place of those of an earlier try."""
    kept = [pair for pair in item.user_properties if not pair[0].startswith("fedcore.")]
    item.user_properties[:] = [*kept, *properties]
