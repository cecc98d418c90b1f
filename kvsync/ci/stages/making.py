"""The stages of a repository, made ready to run."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from kvsync.ci.project.chaos_stage import ChaosStageTable
from kvsync.ci.project.choice import ProjectStage
from kvsync.ci.project.coverage import CommandCoverage, PytestCoverage
from kvsync.ci.project.found_stages import AuditStageTable, BenchmarkStageTable, Compare
from kvsync.ci.project.load_stage import LoadStageTable
from kvsync.ci.project.model import CommandStageTable, PytestStageTable, ServiceTable
from kvsync.ci.project.services import placeholders, start_order
from kvsync.ci.project.values import Profile
from kvsync.ci.services.running_service import RunningService
from kvsync.ci.settings import ServiceSettings
from kvsync.ci.stages.command_stage import CommandStage
from kvsync.ci.stages.covered import CoveredStage
from kvsync.ci.stages.profiles import FileProfiles, MeasuredProfiles
from kvsync.ci.stages.pytest_stage import PytestStage
from kvsync.ci.stages.result_files import Wanted
from kvsync.ci.stages.served import ServedStage
from kvsync.ci.stages.stage import Stage

WANTED: Mapping[str, Wanted] = {"command": "", "benchmark": "measurements", "audit": "findings"}
"""What the files of such stages have to hold."""


def make_served(
    stage: ProjectStage,
    longest_s: float,
    services: Mapping[str, ServiceTable],
    settings: ServiceSettings,
    profile: Profile = "quick",
    *,
    in_pods: bool = False,
) -> Stage:
    """Return what runs a stage together with the services that it needs.

    With `in_pods` those for which an image is named are pods of the run's cluster.
    """
    order = start_order(services, stage.table.needs)
    if not order:
        return make_stage(stage, longest_s, profile)
    start_s = {name: services[name].start_timeout for name in order}

    def make(found: Mapping[str, RunningService]) -> Stage:
        values = dict(stage.values)
        for name, service in found.items():
            values |= placeholders(name, service.fields)
        return make_stage(replace(stage, values=values), longest_s, profile, found, start_s)

    is_proxied = isinstance(stage.table, ChaosStageTable)
    return ServedStage(stage.name, make, order, services, settings, is_proxied=is_proxied, in_pods=in_pods)


def make_stage(
    stage: ProjectStage,
    longest_s: float,
    profile: Profile = "quick",
    services: Mapping[str, RunningService] = MappingProxyType({}),
    start_s: Mapping[str, float] = MappingProxyType({}),
) -> Stage:
    """Return what runs a stage; it takes no longer than the pipeline's owner allows.

    `services` run while it does; `start_s` says how long each may take to start.
    """
    table, timeout_s = stage.table, min(stage.table.timeout, longest_s)
    match table:
        case PytestStageTable():
            return _pytest(stage, table, timeout_s, stage.coverage_of(profile))
        case ChaosStageTable():
            # Only here: what asks and disturbs takes long to import.
            from kvsync.ci.stages.chaos_stage import ChaosStage

            return ChaosStage(
                name=stage.name,
                table=table,
                timeout_s=timeout_s,
                load=stage.load,
                services=services,
                start_s=start_s,
                values=stage.values,
            )
        case LoadStageTable():
            # Only here, as with the kind chaos.
            from kvsync.ci.stages.load.script import ScriptStage
            from kvsync.ci.stages.load.stage import LoadStage

            kind = ScriptStage if table.script else LoadStage
            return kind(stage.name, table, timeout_s, stage.values)
        case CommandStageTable():
            command = _command(stage, table, timeout_s)
            again = replace(
                command, retries=table.retries, workers=table.workers, profile=table.profile or ""
            )
            return _covered(again, stage.coverage_of(profile))
        case BenchmarkStageTable(compare=Compare() as compare):
            # Only here: it reads other repositories, too.
            from kvsync.ci.stages.compared.stage import ComparedStage

            return ComparedStage(stage.name, _command(stage, table, timeout_s), compare)
        case BenchmarkStageTable() | AuditStageTable():
            return _command(stage, table, timeout_s)


def _pytest(
    stage: ProjectStage,
    table: PytestStageTable,
    timeout_s: float,
    gate: CommandCoverage | PytestCoverage | None,
) -> Stage:
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
        shard=stage.shard,
        values=stage.values,
    )
    if gate and measured is not None:
        return CoveredStage(stage.name, tests, gate, MeasuredProfiles(stage.name, tests.ask))
    return _covered(tests, gate)


def _command(
    stage: ProjectStage, table: CommandStageTable | BenchmarkStageTable | AuditStageTable, timeout_s: float
) -> CommandStage:
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


def _covered(stage: Stage, gate: CommandCoverage | PytestCoverage | None) -> Stage:
    """Return a stage with its coverage, if it has any, read from files."""
    return CoveredStage(stage.name, stage, gate, FileProfiles(stage.name, gate.files)) if gate else stage
