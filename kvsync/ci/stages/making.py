"""The stages of a repository, made ready to run."""

from collections.abc import Mapping
from dataclasses import replace

from kvsync.ci.project.choice import ProjectStage
from kvsync.ci.project.load_stage import LoadStageTable
from kvsync.ci.project.model import CommandStageTable, PytestStageTable, ServiceTable
from kvsync.ci.project.services import start_order
from kvsync.ci.settings import ServiceSettings
from kvsync.ci.stages.command_stage import CommandStage
from kvsync.ci.stages.pytest_stage import PytestStage
from kvsync.ci.stages.served import ServedStage
from kvsync.ci.stages.stage import Stage
from kvsync.testing.results.verdicts import NotRun


def make_served(
    stage: ProjectStage, longest_s: float, services: Mapping[str, ServiceTable], settings: ServiceSettings
) -> Stage:
    """Return what runs a stage together with the services that it needs."""
    order = start_order(services, stage.table.needs)
    if not order:
        return make_stage(stage, longest_s)

    def make(found: Mapping[str, str]) -> Stage:
        return make_stage(replace(stage, values={**stage.values, **found}), longest_s)

    return ServedStage(stage.name, make, order, services, settings)


def make_stage(stage: ProjectStage, longest_s: float) -> Stage:
    """Return what runs a stage; it takes no longer than the pipeline's owner allows."""
    table, timeout_s = stage.table, min(stage.table.timeout, longest_s)
    match table:
        case PytestStageTable():
            return PytestStage(
                stage.name,
                folder=stage.folder,
                timeout_s=timeout_s,
                clustered=table.cluster,
                retries=table.retries,
                python=table.python or "",
                options=table.options,
                workers=table.workers,
                environment=table.environment,
                values=stage.values,
            )
        case LoadStageTable():
            raise NotRun("stages of the kind load are not carried out yet")
        case CommandStageTable():
            return CommandStage(
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
