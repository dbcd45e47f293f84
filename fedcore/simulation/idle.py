"""Attacks that would change nothing, or have changed nothing: such a run is an error."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fedcore.attacks.attack import work_in_steps
from fedcore.errors import AttackError
from fedcore.exchange.layout import Layout
from fedcore.exchange.updates import UpdateAudit, left_alone
from fedcore.federation.federation import Federation
from fedcore.scenario import round_half_up


def refuse_idle_attack(
    federation: Federation, cohorts: Iterable[tuple[int, ...]], layout: Layout
) -> None:
    """AttackError unless a client that is attacked takes part in some round.

    Also where a mask covers none of the parameters of ``layout``, or it has none of the buffers
    that an attack touches, or all that attackers send of updates is what they have trained, as
    they see no others.

    Under redraw every malicious client that takes part counts: its first draw has been checked. So
    does one that attacks its local work or its updates.
    """
    threat = federation.threat
    attack = threat.attack
    if attack is None:
        return
    num_parameters = layout.num_parameters
    if attack.update is not None and attack.update.touches == ("buffers",):
        _require_buffers(federation, layout)
    malicious = set(threat.malicious.tolist())
    effective, what = malicious, "malicious clients"
    work = work_in_steps(federation.scenario)
    masks = work is not None and work.masked > 0  # by an update that round 1 does not have
    if work is not None and masks and round_half_up(work.masked * num_parameters) == 0:
        raise AttackError(
            f"attack {federation.scenario.attack!r} masks a share of {work.masked:g}, which of "
            f"{num_parameters} parameters rounds to 0: raise masked_share to "
            f"{0.5 / num_parameters:.3g} at least"
        )
    if attack.data is not None and attack.work is None and attack.update is None:
        what = "clients with changed labels"
        if attack.data.changes_images:
            what = "clients with changed samples"
        if not attack.data.redraw:
            effective = {p.client for p in threat.audit() if p.changed or p.images_changed}
    attacked = [
        cohort
        for round, cohort in enumerate(cohorts, start=1)
        if threat.acts(round) and round > masks
    ]
    if not any(effective.intersection(cohort) for cohort in attacked):
        rounds = len(attacked)
        raise AttackError(
            f"none of the {len(effective)} {what} takes part in any of the {rounds} rounds with "
            f"seed {federation.seed}: the attack would change nothing; raise rounds, "
            "fraction_train or malicious_fraction"
        )
    if attack.update is None or attack.data is not None or attack.work is not None:
        return
    counts = {(len(cohort), len(malicious.intersection(cohort))) for cohort in attacked}
    counts = {(clients, bad) for clients, bad in counts if bad}
    if all(attack.update.sends_own(clients, bad) for clients, bad in counts):
        shown = ", ".join(f"{bad} of {clients}" for clients, bad in sorted(counts))
        raise AttackError(
            f"attack {federation.scenario.attack!r} needs updates of others, and its malicious "
            f"clients ({shown} of a cohort) see their own alone, which they would send as trained: "
            "lower malicious_fraction, raise num_clients, or take signflip or gaussian"
        )


def _require_buffers(federation: Federation, layout: Layout) -> None:
    scenario = federation.scenario
    if layout.size == layout.num_parameters:
        raise AttackError(
            f"attack {scenario.attack!r} changes float buffers, such as BatchNorm's running "
            f"statistics, and model {scenario.model!r} has none: set norm='batch', or take "
            "another model"
        )


def refuse_idle_updates(federation: Federation, updates: Sequence[UpdateAudit]) -> None:
    """AttackError where an attack on updates alone changed none of them."""
    attack = federation.threat.attack
    if attack is None or attack.data is not None or attack.work is not None or not updates:
        return
    touches = () if attack.update is None else attack.update.touches
    if all(left_alone(each, touches, 1) for each in updates):
        raise AttackError(
            f"attack {federation.scenario.attack!r} sent every update of its {len(updates)} "
            "malicious clients as it was trained, so that it changed nothing: correct its craft "
            "method, or its parameters"
        )
