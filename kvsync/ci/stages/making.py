"""The stages of a repository, made ready to run."""

from collections.abc import Mapping
from dataclasses import replace

from kvsync.ci.project.choice import ProjectStage
from kvsync.ci.project.coverage import CommandCoverage, PytestCoverage
from kvsync.ci.project.found_stages import AuditStageTable, BenchmarkStageTable
from kvsync.ci.project.load_stage import LoadStageTable
from kvsync.ci.project.model import CommandStageTable, PytestStageTable, ServiceTable
from kvsync.ci.project.services import start_order
from kvsync.ci.project.values import Profile
from kvsync.ci.settings import ServiceSettings
from kvsync.ci.stages.command_stage import CommandStage
from kvsync.ci.stages.covered import CoveredStage
from kvsync.ci.stages.load.script import ScriptStage
from kvsync.ci.stages.load.stage import LoadStage
from kvsync.ci.stages.profiles import FileProfiles, MeasuredProfiles
from kvsync.ci.stages.pytest_stage import PytestStage
from kvsync.ci.stages.result_files import Wanted
from kvsync.ci.stages.served import ServedStage
from kvsync.ci.stages.stage import Stage

WANTED: Mapping[str, Wanted] = {"benchmark": "measurements", "audit": "findings"}
"""What the files of such stages have to hold."""


def make_served(
    stage: ProjectStage,
    longest_s: float,
    services: Mapping[str, ServiceTable],
    settings: ServiceSettings,
    profile: Profile = "quick",
) -> Stage:
    """Return what runs a stage together with the services that it needs."""
    order = start_order(services, stage.table.needs)
    if not order:
        return make_stage(stage, longest_s, profile)

    def make(found: Mapping[str, str]) -> Stage:
        return make_stage(replace(stage, values={**stage.values, **found}), longest_s, profile)

    return ServedStage(stage.name, make, order, services, settings)


def make_stage(stage: ProjectStage, longest_s: float, profile: Profile = "quick") -> Stage:
    """Return what runs a stage; it takes no longer than the pipeline's owner allows."""
    table, timeout_s = stage.table, min(stage.table.timeout, longest_s)
    gate = stage.coverage_of(profile)
    match table:
        case PytestStageTable():
            measured = gate.source if isinstance(gate, PytestCoverage) and not gate.files else None
            tests = PytestStage(
                stage.name,
                folder=stage.folder,
                timeout_s=timeout_s,
                clustered=table.cluster,
                retries=table.retries,
                python=table.python or "",
                options=table.options,
                workers=table.workers,
                environment=table.environment,
                measured=measured,
                profile=table.profile or "",
                values=stage.values,
            )
            if gate and measured is not None:
                return CoveredStage(stage.name, tests, gate, MeasuredProfiles(stage.name, tests.ask))
            return _covered(tests, gate)
        case LoadStageTable():
            kind = ScriptStage if table.script else LoadStage
            return kind(stage.name, table, timeout_s, stage.values)
        case BenchmarkStageTable() | AuditStageTable():
            return CommandStage(
                stage.name,
                argv=table.command,
                folder=stage.folder,
                results=table.results,
                format_name=table.format or "",
                wanted=WANTED[table.kind],
                timeout_s=timeout_s,
                environment=table.environment,
                values=stage.values,
            )
        case CommandStageTable():
            command = CommandStage(
                stage.name,
                argv=table.command,
                folder=stage.folder,
                results=table.results,
                format_name=table.format or "",
                timeout_s=timeout_s,
                retries=table.retries,
                workers=table.workers,
                environment=table.environment,
                values=stage.values,
            )
            return _covered(command, gate)


def _covered(stage: Stage, gate: CommandCoverage | PytestCoverage | None) -> Stage:
    """Return a stage with its coverage, if it has any, read from files."""
    return CoveredStage(stage.name, stage, gate, FileProfiles(stage.name, gate.files)) if gate else stage
