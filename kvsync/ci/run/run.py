"""A run, with the settings that hold for it: read at the entry points, handed down from there."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from kvsync.ci.cluster_settings import ClusterSettings
from kvsync.ci.run.parameters import REPOSITORY, Parameters
from kvsync.ci.run_folder import RunFolder
from kvsync.ci.settings import Settings, load_settings
from kvsync.ci.stages.environment import secrets_apart
from kvsync.ci.stages.redaction import secrets_of


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
    """What a run is asked to do, and the installation that carries it out."""

    parameters: Parameters
    installation: Installation

    @property
    def settings(self) -> Settings:
        """How the pipeline is set up."""
        return self.installation.settings

    @property
    def folder(self) -> RunFolder:
        """The folder that holds everything this run leaves."""
        return RunFolder(self.parameters.run_dir)

    @property
    def cluster_settings(self) -> ClusterSettings:
        """How this run's clusters are made: as its parameters say, but with the kubeconfig of this machine.

        Anyone who can start a run can give it any parameters; which clusters it may touch is not up to them.
        """
        here = self.settings.cluster
        ours = {"kubeconfig": here.kubeconfig, "allowed_contexts": here.allowed_contexts}
        return self.parameters.settings.model_copy(update=ours)
