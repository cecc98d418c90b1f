"""A run, with the settings that hold for it: read at the entry points, handed down from there."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

from kvsync.ci.cluster_settings import ClusterSettings
from kvsync.ci.project.choice import ProjectStage, choose, profiled, stages_of
from kvsync.ci.project.coverage import CoverageGate
from kvsync.ci.project.model import Project, PytestStageTable
from kvsync.ci.project.relations import filled
from kvsync.ci.project.services import start_order
from kvsync.ci.project.shards import Shard
from kvsync.ci.run.parameters import REPOSITORY, Parameters
from kvsync.ci.run_folder import RunFolder
from kvsync.ci.settings import Settings, load_settings
from kvsync.ci.stages.environment import secrets_apart
from kvsync.ci.stages.prepare import PrepareStage
from kvsync.ci.stages.redaction import secrets_of
from kvsync.ci.stages.stage import LOCAL, Stage
from kvsync.errors import ConfigError
from kvsync.testing.results.outcome import Outcome


@dataclass(frozen=True, slots=True)
class Installation:
    """How the pipeline is set up here, and its secrets, to be masked in what it writes.

    `handed`: the variables that a process which goes on with a run has to be given. The settings are those of
    the pipeline's repository, never the tested commit's: it could send the token anywhere.
    """

    settings: Settings
    secrets: frozenset[str] = field(default=frozenset(), repr=False)
    handed: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Self:
        """Read the settings, for an entry point. Raises ConfigError with every problem."""
        settings = load_settings(REPOSITORY, environ)
        return cls(settings, secrets_of({**environ, **settings.secrets}), secrets_apart(environ)[1])


@dataclass(frozen=True, slots=True)
class Run:
    """What a run is asked to do, the installation that carries it out, and what the tested repository says.

    That is None until the files of the tested commit are there.
    """

    parameters: Parameters
    installation: Installation
    project: Project | None = None

    @property
    def settings(self) -> Settings:
        """How the pipeline is set up."""
        return self.installation.settings

    @property
    def folder(self) -> RunFolder:
        """The folder that holds everything this run leaves."""
        return RunFolder(self.parameters.run_dir)

    def of_project(self, project: Project, changed: Sequence[str] | None = None) -> "Run":
        """Return the run with the stages that this project has for it; `changed`: paths, None if not known.

        Raises UnknownName for a stage that there is not, and ConfigError when nothing is left to run, or for
        a profile of a stage that has none, or is not run.
        """
        given = self.parameters
        stages = choose(project, given.stages, replace(given.occasion, changed=changed))
        every = profiled(stages_of(project), given.profilers)
        names = {name for stage in stages for name in (stage, every[stage].origin)}
        if absent := [name for name in given.profilers if name not in names]:
            problem = f"profilers: {', '.join(absent)} is no stage of this run, which has {', '.join(stages)}"
            raise ConfigError("parameters of the run", [problem])
        return replace(self, project=project, parameters=given.model_copy(update={"stages": stages}))

    def stage(self, name: str, left_s: float = math.inf) -> Stage:
        """Return what runs the stage of this name, which the project has, within the time that is left."""
        # Imported here: commands need no reader of results, which take a fifth of their start.
        from kvsync.ci.stages.making import make_served

        assert self.project is not None
        source, settings = self.parameters.source, self.settings.services
        if source and not source.trusted:
            settings = settings.without_addresses
        longest_s = min(self.settings.stages.longest_s, left_s)
        return make_served(
            self._stages[name],
            longest_s,
            self.project.services,
            settings,
            self.parameters.profile,
            in_pods=self.parameters.cluster != LOCAL,
        )

    def shard(self, name: str) -> Shard | None:
        """Return which part of its tests a stage has; None if all."""
        found = self._stages.get(name) if self.project else None
        return found.shard if found else None

    def is_compared(self, name: str) -> bool:
        """Whether a stage is measured in turns with the commit at which the code left its base."""
        return self.project is not None and self._stages[name].is_compared

    @property
    def covered(self) -> tuple[str, ...]:
        """The stages whose coverage runs of this profile measure, whether this one has them or not."""
        profile = self.parameters.profile
        return tuple(name for name, each in self._stages.items() if each.coverage_of(profile))

    def coverage_gate(self, name: str) -> CoverageGate | None:
        """Return what has to have run in a stage, or in all of them for ""; None where nothing is said."""
        assert self.project is not None
        return self._stages[name].coverage_of(self.parameters.profile) if name else self.project.coverage

    @property
    def longest_s(self) -> float:
        """How many seconds all of its stages may take together."""
        source, settings = self.parameters.source, self.settings.stages
        return settings.longest_run_s if not source or source.trusted else settings.untrusted_run_s

    @property
    def preparation(self) -> PrepareStage | None:
        """What makes ready what the stages need; None where they need nothing."""
        assert self.project is not None
        table = self.project.project
        if not table.prepare:
            return None
        due = [self._stages[name] for name in self.parameters.due]
        pythons = [
            filled(each.table.python, each.values)
            for each in due
            if isinstance(each.table, PytestStageTable) and each.table.python
        ]
        timeout_s = min(table.prepare_timeout, self.settings.stages.longest_s, self.longest_s)
        return PrepareStage(table.prepare, timeout_s, made_from=table.prepared_from, made=pythons)

    @property
    def needs_cluster(self) -> bool:
        """Whether a cluster has to be made before the stages: a local one is made by each test."""
        if self.parameters.cluster == LOCAL:
            return False
        stages = self._stages
        return bool(self.pod_images) or any(stages[name].uses_cluster for name in self.parameters.due)

    @property
    def pod_images(self) -> tuple[str, ...]:
        """The images of the services that are pods of this run's cluster."""
        if self.project is None or self.parameters.cluster == LOCAL:
            return ()
        services, stages = self.project.services, self._stages
        needed = [
            other for name in self.parameters.due for other in start_order(services, stages[name].table.needs)
        ]
        images = (self.settings.services.image(services[name].kind) for name in needed)
        return tuple(dict.fromkeys(filter(None, images)))

    @property
    def needs_image(self) -> bool:
        """Whether that cluster needs the image of gateway and simulator; not while its stages are unknown."""
        return self.project is not None and any(
            self._stages[name].needs_image for name in self.parameters.due
        )

    def unmet(self, name: str, left_s: float = math.inf) -> str:
        """Say what a stage needs that is not there; "" if it can be run."""
        if left_s <= 0:
            return f"not run: the run took the {self.longest_s:.0f} s that the pipeline's owner allows"
        stages = self._stages
        for other in self.parameters.stages:
            if stages[other].origin in stages[name].table.needs:
                result = self.folder.result(other)
                if not result or result.outcome is not Outcome.PASSED:
                    return f"not run: it needs {other}, which did not pass"
        return ""

    @property
    def _stages(self) -> dict[str, ProjectStage]:
        assert self.project is not None
        return profiled(stages_of(self.project), self.parameters.profilers)

    @property
    def cluster_settings(self) -> ClusterSettings:
        """How this run's clusters are made: as its parameters say, but with the kubeconfig of this machine.

        Anyone who can start a run can give it any parameters; which clusters it may touch is not up to them.
        """
        here = self.settings.cluster
        ours = {"kubeconfig": here.kubeconfig, "allowed_contexts": here.allowed_contexts}
        return self.parameters.settings.model_copy(update=ours)
