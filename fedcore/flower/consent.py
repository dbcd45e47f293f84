"""What a node demands before it trains: its own config decides, whatever the server sends.

A SuperNode started with --node-config "... privacy='localdp' epsilon-budget=20.0" takes no task
of another mechanism and makes no release that would bring one of its clients above 20 in all, at a
delta of at most ``delta`` (1e-5), for neighbours under replacement. Without ``privacy`` the server
chooses what the budget protects, a client's data (localdp) or each of its samples (dpsgd). The
account lies in the node's state, which Flower keeps for a run: it is a budget for each run.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from flwr.app import Context, MetricRecord

from fedcore.errors import PrivacyError
from fedcore.privacy.mechanism import Mechanism

_SPENT = "privacy.spent"  # outside of the keys of a run: a server that renames it gains nothing
_SLACK = 1e-9


@dataclass(frozen=True)
class Terms:
    """A node's demands: a mechanism by name, a budget of epsilon; None demands nothing."""

    privacy: str | None = None
    budget: float | None = None
    delta: float = 1e-5

    @classmethod
    def of(cls, context: Context) -> Terms:
        """The demands in the node's config. PrivacyError for values that are none."""
        config = context.node_config
        privacy, budget = config.get("privacy"), config.get("epsilon-budget")
        delta = config.get("delta", cls.delta)
        problems = [
            f"a node's {name} must be {rule}, got {value!r}"
            for name, value, rule, holds in (
                ("privacy", privacy, "a mechanism's name", isinstance(privacy, str | None)),
                ("epsilon-budget", budget, "a number > 0", budget is None or _positive(budget)),
                ("delta", delta, "in (0, 1)", _positive(delta) and float(delta) < 1),
            )
            if not holds
        ]
        if problems:
            raise PrivacyError("; ".join(problems))
        return cls(
            None if privacy is None else str(privacy),
            None if budget is None else float(budget),
            float(delta),
        )

    def accept(self, offered: str | None) -> None:
        """Refuse a task whose mechanism is ``offered`` (None: nothing is private), as demanded.

        Before anything that the task names is loaded. Raises PrivacyError.
        """
        if self.privacy is None and self.budget is None:
            return
        if offered is None or self.privacy not in (None, offered):
            raise PrivacyError(
                f"this node demands privacy={self.privacy or 'any mechanism'!r}, the task has "
                f"{offered!r}: nothing was trained"
            )

    def admit(self, mechanism: Mechanism, context: Context, client: int) -> None:
        """Account for a release of ``client`` under ``mechanism``, before it is trained.

        Releases under equal parameters compose exactly, those under others by adding epsilons (and
        deltas). Raises PrivacyError where the budget does not allow it; nothing has left the node
        then.
        """
        if self.budget is None:
            return
        delta = mechanism.run.scenario.delta
        if mechanism.trusts_server or delta is None or delta > self.delta:
            raise PrivacyError(
                f"this node has an epsilon-budget at delta {self.delta:g}: "
                f"{mechanism.run.scenario.privacy!r} at delta {delta} does not protect it "
                "from the server to that measure"
            )
        if mechanism.run.scenario.neighbours == "zero-out":
            raise PrivacyError(
                "this node has an epsilon-budget, which counts under neighbours='replace', the "
                "task has 'zero-out', half the noise: nothing was trained"
            )
        records = context.state.metric_records
        spent = dict(records[_SPENT]) if _SPENT in records else {}
        key = f"{client}.{_digest(mechanism)}"
        cost = _floats(spent.get(key))[0] + mechanism.cost(client, (client,))
        spent[key] = [cost, mechanism.spent(client, cost)]
        total = sum(_floats(v)[1] for k, v in spent.items() if k.startswith(f"{client}."))
        if not total <= self.budget * (1 + _SLACK):
            raise PrivacyError(
                f"one more release of client {client} would bring its epsilon to {total:.4g}, this "
                f"node's epsilon-budget is {self.budget:g}: nothing was trained"
            )
        # before the release: a crash in between may count one too many, never one too few
        context.state[_SPENT] = MetricRecord(spent)


def _positive(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 2.0**1023


def _floats(value: object) -> list[float]:
    return [float(v) for v in value] if isinstance(value, list) else [0.0, 0.0]


def _digest(mechanism: Mechanism) -> str:
    """Of all that a release's epsilon follows from."""
    values = {**mechanism.run.scenario.to_dict(), "rounds": None, "seed": mechanism.run.facts.seed}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]
