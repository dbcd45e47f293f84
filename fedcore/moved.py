"""Old names of modules, which suites and components of others import: each is the module it became.

fedcore itself, its tests and its benchmark use the new names only. An old name gives the same
module object, so that a class has one identity whatever name it was imported by.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.util
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Final

#: New name by old name, both below `fedcore`. Names that became a package are left out.
MOVED: Final = {
    "attacks.backdoor": "attacks.data.backdoor",
    "attacks.base": "attacks.attack",
    "attacks.labelflip": "attacks.data.labelflip",
    "attacks.pairflip": "attacks.data.pairflip",
    "attacks.poisoning": "federation.threat",
    "attacks.scaled": "attacks.updates.scaled",
    "attacks.signflip": "attacks.updates.signflip",
    "attacks.square": "attacks.triggers.square",
    "attacks.targetedflip": "attacks.data.targetedflip",
    "cli.progress": "console",
    "component": "components.component",
    "data.base": "data.dataset",
    "decode": "records.decode",
    "engine.base": "engine.interface",
    "engine.batches": "federation.batches",
    "engine.convolution": "native.convolution",
    "engine.flower": "engine.flower_engines",
    "engine.native": "native.compiler",
    "engine.pooling": "native.pooling",
    "engine.solvers": "optimizers.solvers",
    "evidence": "exchange.evidence",
    "execution": "engine.execution",
    "fields": "components.parameters",
    "fingerprints": "exchange.fingerprints",
    "harness.audit": "harness.proofs.audit",
    "harness.baseline": "harness.baselines.comparison",
    "harness.baseline_coverage": "harness.baselines.coverage",
    "harness.baseline_document": "harness.baselines.document",
    "harness.baseline_file": "harness.baselines.file",
    "harness.baseline_item": "harness.plugin.baseline_item",
    "harness.baseline_plugin": "harness.plugin.baselines",
    "harness.baseline_report": "harness.baselines.report",
    "harness.baseline_update": "harness.baselines.update",
    "harness.bootstrap": "harness.statistics.bootstrap",
    "harness.cells": "harness.suite.cells",
    "harness.claim_files": "harness.claims.files",
    "harness.claim_plugin": "harness.plugin.claims",
    "harness.claim_records": "harness.claims.records",
    "harness.claim_report": "harness.claims.report",
    "harness.claim_session": "harness.plugin.claim_session",
    "harness.cold": "harness.measuring.commands",
    "harness.collection": "harness.plugin.collection",
    "harness.command": "harness.suite.command",
    "harness.confounds": "harness.suite.comparability",
    "harness.contrasts": "harness.claims.contrasts",
    "harness.costs": "harness.reports.costs",
    "harness.distributed": "harness.plugin.xdist",
    "harness.documents": "harness.reports.formats",
    "harness.exact.canaries": "harness.baselines.canaries",
    "harness.explain": "harness.reports.explain",
    "harness.figures": "harness.reports.figures",
    "harness.gates": "harness.statistics.estimates",
    "harness.inputs": "records.inputs",
    "harness.lab": "harness.suite.lab",
    "harness.lockstep_pool": "harness.runs.lockstep",
    "harness.look_ahead": "harness.suite.look_ahead",
    "harness.measures": "harness.suite.measures",
    "harness.memory": "harness.measuring.peak_memory",
    "harness.noninferiority": "harness.statistics.portable",
    "harness.options": "harness.suite.options",
    "harness.outcome": "harness.suite.outcome",
    "harness.overall": "harness.reports.overall",
    "harness.places": "records.files",
    "harness.pool": "harness.runs.processes",
    "harness.privacy_surface": "harness.reports.privacy",
    "harness.published": "harness.suite.published",
    "harness.ray_head": "ray_cluster",
    "harness.ray_pool": "harness.runs.ray",
    "harness.report": "harness.reports.files",
    "harness.rows": "harness.reports.rows",
    "harness.session": "harness.plugin.session",
    "harness.simultaneous": "harness.statistics.simultaneous",
    "harness.skill": "harness.suite.skill",
    "harness.stamp": "records.stamp",
    "harness.store": "records.store",
    "harness.summaries": "harness.reports.summaries",
    "harness.table": "harness.reports.table",
    "harness.targets": "harness.suite.targets",
    "harness.thresholds": "harness.suite.thresholds",
    "harness.timing": "harness.measuring.rounds",
    "harness.tuner": "harness.tuning.search",
    "harness.worker": "harness.runs.job",
    "identity": "simulation.identity",
    "identity_sample": "simulation.identity_sample",
    "kernels": "native.kernels",
    "lockstep": "simulation.lockstep",
    "lockstep_group": "simulation.lockstep_group",
    "lockstep_member": "simulation.lockstep_member",
    "models.base": "models.architecture",
    "naming": "scenario.naming",
    "partition.base": "partition.partitioner",
    "partition.federation": "federation.clients",
    "presets": "scenario.presets",
    "privacy.audit": "privacy.distinguishing",
    "privacy.base": "privacy.mechanism",
    "privacy.localwork": "engine.private_work",
    "provenance": "records.provenance",
    "record": "records.record",
    "record_checks": "records.checks",
    "registry": "components.registry",
    "strategies.adaptive": "strategies.averaging.adaptive",
    "strategies.base": "strategies.strategy",
    "strategies.bulyan": "strategies.robust.bulyan",
    "strategies.centeredclipping": "strategies.robust.centeredclipping",
    "strategies.fedadam": "strategies.averaging.fedadam",
    "strategies.fedavg": "strategies.averaging.fedavg",
    "strategies.fedavgm": "strategies.averaging.fedavgm",
    "strategies.fedbn": "strategies.averaging.fedbn",
    "strategies.fednova": "strategies.averaging.fednova",
    "strategies.fedprox": "strategies.averaging.fedprox",
    "strategies.fedyogi": "strategies.averaging.fedyogi",
    "strategies.flower": "strategies.foreign",
    "strategies.gram": "native.gram",
    "strategies.krum": "strategies.robust.krum",
    "strategies.median": "strategies.robust.median",
    "strategies.multikrum": "strategies.robust.multikrum",
    "strategies.network_kernel": "native.selection",
    "strategies.normclipping": "strategies.robust.normclipping",
    "strategies.rfa": "strategies.robust.rfa",
    "strategies.trimmedmean": "strategies.robust.trimmedmean",
    "suspects": "simulation.suspects",
    "trial": "simulation.trial",
    "validation": "scenario.validation",
    "vector": "exchange.layout",
}


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Answers for the old names, after all other finders."""

    def __init__(self) -> None:
        self._specs: dict[str, ModuleSpec | None] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package, _, rest = fullname.partition(".")
        if package != "fedcore" or rest not in MOVED:
            return None
        return importlib.util.spec_from_loader(fullname, self)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(f"fedcore.{MOVED[spec.name.partition('.')[2]]}")
        self._specs[module.__name__] = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        # it has been executed under its new name; the import of the old one replaced its spec
        module.__spec__ = self._specs[module.__name__]


def install() -> None:
    """Make the old names importable; once a process."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())
