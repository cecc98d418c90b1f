"""Gives a run the Kubernetes cluster that it asked for, says how long each step took, and takes it back.

Everything is in the ledger before it is made, so that `kvsync-ci clean` finds it if the run is killed.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from kvsync.ci.cleaning.reapers import in_order, reached_with, reap
from kvsync.ci.cluster_settings import ClusterChoice, ClusterSettings
from kvsync.ci.doctor.doctor import AskServer, asking, examine, pin, stuck_namespaces
from kvsync.ci.doctor.findings import Finding, require
from kvsync.ci.errors import CannotRun
from kvsync.ci.provision.image import build
from kvsync.ci.provision.kind import KindCommand
from kvsync.ci.provision.services_namespace import is_of_services, with_services
from kvsync.ci.run.parameters import REPOSITORY
from kvsync.ci.run_folder import RunFolder
from kvsync.ci.stages.stage import StageContext
from kvsync.testing.clusters.kubernetes.machine import Machine
from kvsync.testing.errors import ClusterError
from kvsync.testing.processes.commands import Commands
from kvsync.testing.processes.ledger import Ledger, LedgerEntry, leftovers
from kvsync.testing.processes.scratch import scratch
from kvsync.testing.processes.tools import ON_PATH, ToolAnswer
from kvsync.testing.processes.wait import wait_for
from kvsync.testing.results.outcome import Check, StageResult, merge
from kvsync.testing.results.verdicts import NotRun

MANIFESTS = "infra/manifests"

READY_TIMEOUT_S = 90.0
"""How long a new cluster, whose nodes unpack an image, may take to answer on a busy machine."""

PROVISIONED = ("kind-cluster", "node-image", "image", "path")
"""The kinds of other ledger entries that this module makes."""


@dataclass(slots=True)
class _Steps:
    """The steps taken, each with its duration."""

    clock: Callable[[], float]
    checks: list[Check] = field(default_factory=list)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        began = self.clock()
        yield
        self.checks.append(Check(name=name, kind="passed", duration_s=self.clock() - began))


@dataclass(frozen=True, slots=True)
class ClusterStage:
    """Makes a cluster and writes `machine.json` of the run; may be run again after it failed.

    With `reuse` it is the Kind cluster of that name, created if it does not exist, and left there at the end.
    Raises CommandError when a command fails, and NotRun, with every mend, when something is missing here or
    the settings do not allow the context. `with_image` says whether the image of gateway and simulator is
    needed there; without it, only the pods that are there already can be used. `services` are the images of
    services that are pods: for these there is a namespace until the end of the run.
    """

    choice: ClusterChoice
    settings: ClusterSettings
    reuse: str = ""
    with_image: bool = True
    services: Sequence[str] = ()
    clock: Callable[[], float] = time.monotonic
    name: str = "cluster"

    def run(self, context: StageContext) -> StageResult:
        """See Stage; each check is a step."""
        with scratch(context.ledger, context.run_dir / "temporary") as temporary:
            return self._run(context, temporary)

    def _run(self, context: StageContext, temporary: Path) -> StageResult:
        started_at, steps, folder = datetime.now(UTC), _Steps(self.clock), RunFolder(context.run_dir)
        log, ledger = folder.logs / f"{self.name}.log", context.ledger
        commands = Commands(
            log=log, ledger=ledger, stop=context.stop, temporary=temporary, environ=context.tools
        )
        with steps.step("check whether the cluster can be used"):
            choice, settings = self._examined(context)
        kubeconfig, cluster = str(settings.kubeconfig or ""), ""
        manifests = str(_manifests(context.repository)) if self.with_image else ""
        image = (settings.image or f"kvsync:{context.ledger.run}") if self.with_image else ""
        if image and settings.image is None:
            with steps.step(f"build the image on {settings.base_image}"):
                ledger.intend("image", image)
                source, base = context.repository, settings.base_image
                build(image, repository=source, base=base, folder=temporary / "image", commands=commands)
        if choice.kind == "kind":
            cluster, kubeconfig = (
                self.reuse or f"kvsync-{context.ledger.run}",
                str(folder.path / "kubeconfig"),
            )
            kind = KindCommand(settings=settings, commands=commands)
            self._make(cluster, Path(kubeconfig), kind, ledger, steps)
            if image:
                with steps.step("load the image on every node"):
                    if self.reuse and settings.image is None:
                        # An earlier attempt may have left it there.
                        reap(ledger.intend("node-image", image, kind_cluster=cluster))
                    kind.load(cluster, image)
            for each in self.services:
                if ON_PATH.ask("docker", "image", "inspect", "--format={{.Id}}", each).ok:
                    with steps.step(f"load {each} on every node"):
                        kind.load(cluster, each)
        machine = Machine(
            kubeconfig=kubeconfig,
            context=choice.context or "",
            image=image,
            manifests=manifests,
            kind=cluster,
            namespace_prefix=settings.namespace_prefix,
            ready_timeout_s=settings.ready_timeout_s,
            delete_timeout_s=settings.delete_timeout_s,
        )
        ask = asking(ON_PATH, machine.kubeconfig, machine.context)
        with steps.step("wait until the API server is ready"):
            _await_readiness(ask)
        if choice.kind == "kubeconfig" and image:
            from kvsync.ci.provision.image_trial import try_image

            with steps.step("start a pod of the image"):
                self._require([try_image(machine, ledger=context.ledger, stop=context.stop)])
        elif self.reuse:
            self._require([stuck_namespaces(ask)])
        if self.services:
            with steps.step("make the namespace of services"):
                machine = with_services(machine, ledger)
        machine.write(folder.machine)
        took_s = sum(check.duration_s for check in steps.checks)
        relative = str(log.relative_to(folder.path))
        return merge(self.name, steps.checks, started_at=started_at, duration_s=took_s, log=relative)

    def _examined(self, context: StageContext) -> tuple[ClusterChoice, ClusterSettings]:
        """Return the choice and the settings with a kubeconfig's file and context, if a run may use them."""
        environ = os.environ if context.environ is None else context.environ
        choice, settings = pin(self.choice, self.settings, environ)
        folder = context.run_dir
        found = examine(
            choice,
            settings,
            folder=folder,
            reuse=self.reuse,
            environ=context.environ,
            with_image=self.with_image,
            repository=context.repository,
        )
        self._require(found)
        return choice, settings

    def _require(self, findings: Sequence[Finding]) -> None:
        try:
            require(findings, self.choice)
        except CannotRun as exc:
            raise NotRun(f"--cluster {self.choice} cannot run here: {'; '.join(exc.problems)}") from exc

    def _make(self, name: str, kubeconfig: Path, kind: KindCommand, ledger: Ledger, steps: _Steps) -> None:
        unfinished = _unfinished(name, ledger)
        if others := {entry.run for entry in unfinished} - {ledger.run}:
            why = f"{name} was not finished by the run {', '.join(sorted(others))}"
            raise ClusterError(f"{why}: if that run was killed, `kvsync-ci clean` deletes it")
        ledger.intend("path", str(kubeconfig))  # its keys open the cluster for as long as it exists
        if self.reuse and not unfinished and kind.exists(name):
            kind.write_kubeconfig(name, kubeconfig)
            return
        entry, *_ = unfinished or [ledger.intend("kind-cluster", name, kubeconfig=str(kubeconfig))]
        kind.delete(name, kubeconfig)  # what an earlier attempt left
        with steps.step(f"create a Kind cluster of {self.settings.workers + 1} nodes"):
            kind.create(name, kubeconfig)
        if self.reuse:
            ledger.released(entry)
        else:
            ledger.created(entry, ready=True)


def _manifests(repository: Path) -> Path:
    """Return the folder by which the image is started: the tested commit's, or else the pipeline's own."""
    folders = [each / MANIFESTS for each in (repository, REPOSITORY)]
    for folder in folders:
        if (folder / "engine.yaml").exists():
            return folder
    raise NotRun(f"there is no {MANIFESTS} in {repository}, nor beside the pipeline; run it from a checkout")


def _await_readiness(ask: AskServer) -> None:
    answers: list[ToolAnswer] = []

    def ready() -> bool:
        answers.append(ask("get", "--raw=/readyz"))
        return answers[-1].ok

    wait_for(
        ready,
        what="the API server is ready",
        timeout_s=READY_TIMEOUT_S,
        interval_s=1.0,
        last_seen=lambda: answers[-1].reason,
    )


def _unfinished(cluster: str, ledger: Ledger) -> list[LedgerEntry]:
    """Return the entries, of this run or its siblings, for a Kind cluster that was not finished."""
    entries = leftovers(ledger.path.parent.parent.glob(f"*/{ledger.path.name}"))
    made = [entry for entry in entries if (entry.kind, entry.name) == ("kind-cluster", cluster)]
    return [entry for entry in made if not entry.facts.get("ready")]


def made_for_run(ledger: Ledger) -> list[LedgerEntry]:
    """Return what was made for all stages of the run and is still there, as its ledger knows."""
    return [entry for entry in leftovers([ledger.path]) if entry.kind in PROVISIONED or is_of_services(entry)]


def give_back(ledger: Ledger) -> None:
    """Delete what the cluster stage made, except a kubeconfig that is needed to reach something still there.

    Raises WaitTimeout and ClusterError when something resists.
    """
    ours = made_for_run(ledger)
    others = [entry for entry in leftovers([ledger.path]) if entry not in ours]
    for entry in in_order(ours):
        if not reached_with(entry, others):
            reap(entry)
            ledger.released(entry)
