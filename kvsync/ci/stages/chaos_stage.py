"""A stage that disturbs its services one fault after the other, and judges how requests are served meanwhile.

What no fault may break is a check: the criteria of its table, and data that is whole afterwards. A fault that
cannot be injected here is not run, one without a measured effect void, and what too few requests tell is
inconclusive; none of these ever passes.
"""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from kvsync.ci.chaos.containers import ContainerInjector, find_container
from kvsync.ci.chaos.declared import fault_of
from kvsync.ci.chaos.experiment import Deadline, FaultExperiment, Stopped
from kvsync.ci.chaos.injector import ServiceInjector
from kvsync.ci.chaos.steady import (
    AT_MOST_S,
    Probing,
    Requests,
    SteadyRequests,
    http_probe,
    program_probe,
    seed_during,
)
from kvsync.ci.project.chaos_stage import (
    ChaosStageTable,
    ContainerLabel,
    FaultTable,
    PodSelector,
    criteria_of,
)
from kvsync.ci.project.load_stage import LoadStageTable
from kvsync.ci.project.relations import filled
from kvsync.ci.run_folder import RunFolder
from kvsync.ci.services.running_service import RunningService
from kvsync.ci.services.service import Surroundings
from kvsync.ci.stages.command_stage import FORBIDDEN, MISSING, free_label
from kvsync.ci.stages.load.stream import stream_of
from kvsync.ci.stages.stage import LOCAL, StageContext
from kvsync.testing.clusters.kubernetes.machine import Machine
from kvsync.testing.errors import ClusterError, WaitTimeout
from kvsync.testing.faults.holding import PROOF_TIMEOUT_S, Injector
from kvsync.testing.processes.runner import CommandResult, run
from kvsync.testing.results.history import History, append_line
from kvsync.testing.results.outcome import Check, CheckKind, StageResult, merge, worded
from kvsync.testing.results.texts import shortened
from kvsync.testing.results.verdicts import NotRun


@dataclass(frozen=True, slots=True, kw_only=True)
class ChaosStage:
    """Carries out the faults of a table within `timeout_s`, on services that are reached through the proxy.

    `load` is the stage whose requests are sent meanwhile, if it says so. `start_s` is how long each of the
    services may take to be ready again. `values` are what words name.
    """

    name: str
    table: ChaosStageTable
    timeout_s: float
    load: LoadStageTable | None = None
    services: Mapping[str, RunningService] = field(default_factory=dict)
    start_s: Mapping[str, float] = field(default_factory=dict)
    values: Mapping[str, str] = field(default_factory=dict)

    def run(self, context: StageContext) -> StageResult:
        """See Stage; each fault's requests are in the run's `history/`, the checks in `logs/<stage>.log`."""
        if context.box:
            raise NotRun("it sends requests, and in a box there is no network: run it for trusted commits")
        started_at, began = datetime.now(UTC), time.monotonic()
        running = _Running(self, context, Deadline(began + self.timeout_s, context.stop))
        checks = list(running.checks())
        result = merge(self.name, checks, started_at=started_at, duration_s=time.monotonic() - began)
        return replace(result, log=str(running.log.relative_to(context.run_dir)))


class _Running:
    """One attempt at the stage."""

    def __init__(self, stage: ChaosStage, context: StageContext, deadline: Deadline) -> None:
        self._stage, self._context, self._deadline = stage, context, deadline
        self.label = free_label(context.run_dir, stage.name)
        self.log = context.run_dir / "logs" / f"{self.label}.log"
        self._history = History(context.run_dir / "history" / f"{self.label}.jsonl", proc="chaos")
        self._values = {**stage.values, "profile": context.profile, "seed": str(context.seed)}
        self._tests = RunFolder(context.run_dir).tests(stage.name)
        self._folder = context.repository / (stage.table.folder or "")

    def checks(self) -> Iterator[Check]:
        """Give the checks of each fault, one fault after the other."""
        faults = self._stage.table.faults
        self._tests.parent.mkdir(parents=True, exist_ok=True)
        append_line(self._tests, {"event": "collected", "nodeids": list(faults), "count": len(faults)})
        stopped = ""
        try:
            self._set_up()
            self._require_whole()
        except Stopped as exc:
            stopped = str(exc)
        for name, table in faults.items():
            if stopped:
                yield Check(name=f"{name}: effect", kind="not-run", detail=f"not reached: {stopped}")
                continue
            append_line(self._tests, {"event": "started", "nodeid": name})
            began = time.monotonic()
            try:
                found = self._carried_out(name, table)
            except Stopped as exc:
                stopped = str(exc)
                kind: CheckKind = "not-run" if self._context.stop.is_set() else "timeout"
                found = [Check(name=f"{name}: effect", kind=kind, detail=stopped)]
            except NotRun as exc:
                found = [Check(name=f"{name}: effect", kind="not-run", detail=str(exc))]
            except (ClusterError, WaitTimeout) as exc:
                found = [Check(name=f"{name}: effect", kind="infra-error", detail=str(exc))]
            found[0] = replace(found[0], duration_s=time.monotonic() - began)
            worst = max(found, key=lambda each: each.outcome)
            append_line(self._tests, {"event": "finished", "nodeid": name, "kind": worst.kind})
            self._say(f"{worded(each.kind)}: {each.name}: {each.detail}" for each in found)
            yield from found

    def _carried_out(self, name: str, table: FaultTable) -> list[Check]:
        self._restore()
        history = self._history.bind(test=f"{self._stage.name}::{name}")
        if isinstance(table.on, str):
            history = history.bind(service=table.on)
        injector, victim = self._injector_of(table, history)
        experiment = FaultExperiment(
            name=name,
            fault=fault_of(table, victim),
            seconds=table.seconds,
            baseline_s=self._stage.table.baseline,
            criteria=criteria_of(self._stage.table.criteria, table.criteria),
            injector=injector,
            steady=lambda: self._steady(name, history),
            history=history,
            deadline=self._deadline,
            look=self._ended,
            proof_timeout_s=max(PROOF_TIMEOUT_S, self._stage.start_s.get(victim, 0.0)),
        )
        found = experiment.carry_out()
        if len(found) > 1 and self._stage.table.whole:
            found.append(self._whole(f"{name}: data is whole"))
        return found

    def _injector_of(self, table: FaultTable, history: History) -> tuple[Injector, str]:
        """Return who carries a fault out, and the name of what it befalls. Raises NotRun without one."""
        ledger, check = self._context.ledger, self._deadline.check
        match table.on:
            case ContainerLabel(container=labels):
                return ContainerInjector(ledger, check), find_container(labels)
            case PodSelector() as selector:
                machine = RunFolder(self._context.run_dir).machine
                if not machine.exists():
                    raise NotRun(self._why_no_cluster())
                # Only here: the client of Kubernetes takes a second to import.
                from kvsync.ci.chaos.pods import PodInjector

                pods = PodInjector(Machine.read(machine), selector, ledger, history, check)
                return pods, pods.victim()
            case name:
                around = Surroundings(
                    repository=self._context.repository,
                    logs=RunFolder(self._context.run_dir).logs / "services" / self._stage.name,
                    ledger=ledger,
                    stop=self._context.stop,
                )
                return ServiceInjector(self._stage.services, around, check), name

    def _why_no_cluster(self) -> str:
        if self._context.cluster == LOCAL:
            return "pods need a cluster: run it with --cluster kind --reuse NAME or --cluster kubeconfig"
        return f"the {self._context.cluster} cluster could not be made"

    def _steady(self, name: str, history: History) -> SteadyRequests:
        context, asked = self._context, self._stage.table.steady
        seed = seed_during(name, context.seed)
        if isinstance(asked.probe, tuple):
            argv = [filled(word, self._values) for word in asked.probe]
            ask = program_probe(argv, self._folder, self._environ(), asked.timeout)
            return Probing(ask, history, rate_per_s=asked.rate_per_s, timeout_s=asked.timeout, seed=seed)
        if isinstance(asked.probe, str):
            stream = http_probe(filled(asked.probe, self._values), asked.timeout, seed)
        else:
            assert self._stage.load is not None
            stream = stream_of(self._stage.load, self._values, context.repository, context.profile, seed)
        return Requests(
            stream.steady(asked.rate_per_s, AT_MOST_S),
            run_dir=context.run_dir,
            name=f"{self.label}-{name}",
            test=str(history.fields["test"]),
        )

    def _restore(self) -> None:
        """Start what an earlier fault ended and what did not come back: each fault is judged by itself.

        One that runs may have come back empty, as a pod does, and is made ready likewise.
        """
        for name, service in self._stage.services.items():
            if server := service.server:
                if not server.is_running:
                    server.start()
                server.await_ready(self._stage.start_s.get(name, PROOF_TIMEOUT_S))

    def _ended(self) -> str:
        return "; ".join(filter(None, [each.why_ended() for each in self._stage.services.values()]))

    def _require_whole(self) -> None:
        """Raise NotRun when data is not whole even before any fault."""
        if self._stage.table.whole:
            before = self._whole("data is whole before any fault")
            if before.kind != "passed":
                raise NotRun(f"{before.name}: {before.detail}")

    def _set_up(self) -> None:
        """Make ready what the requests of a load stage ask for. Raises NotRun when that fails."""
        if self._stage.load and self._stage.load.setup:
            words = [filled(word, self._values) for word in self._stage.load.setup]
            done, setup_s = self._ran(words, self._stage.timeout_s), self._stage.timeout_s
            kind, why = _judged(done, setup_s)
            if kind != "passed":
                raise NotRun(f"the program in `setup` of {self._stage.table.steady.load}: {why}")

    def _whole(self, name: str) -> Check:
        words = [filled(word, self._values) for word in self._stage.table.whole or ()]
        done = self._ran(words, self._stage.table.whole_timeout)
        kind, why = _judged(done, self._stage.table.whole_timeout)
        return Check(
            name=name,
            kind=kind,
            detail=f"{shortened(' '.join(words))}: {why}",
            duration_s=done.duration_s,
            log_tail="" if kind == "passed" else done.tail,
        )

    def _ran(self, words: Sequence[str], timeout_s: float) -> CommandResult:
        done = run(
            words,
            log=self.log,
            timeout_s=timeout_s,
            cwd=self._folder,
            env=self._variables(),
            environ=self._context.environ,
            stop=self._context.stop,
            ledger=self._context.ledger,
        )
        self._deadline.check()
        return done

    def _variables(self) -> dict[str, str]:
        said = self._stage.table.environment
        return {"PYTHONPATH": "", **{name: filled(text, self._values) for name, text in said.items()}}

    def _environ(self) -> dict[str, str]:
        inherited = os.environ if self._context.environ is None else self._context.environ
        return {**inherited, **self._variables(), **self._context.ledger.environment}

    def _say(self, lines: Iterator[str]) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("a", encoding="utf-8") as log:
            log.writelines(f"{line}\n" for line in lines)


def _judged(done: CommandResult, timeout_s: float) -> tuple[CheckKind, str]:
    """Say how a program that looks at data ended, and why."""
    last = next((line for line in reversed(done.tail.splitlines()) if line.strip()), "it printed nothing")
    if done.timed_out:
        return "failed", f"it took longer than {timeout_s:g} s"
    if done.exit_code in (MISSING, FORBIDDEN):
        return "not-run", f"it is not there, or cannot be executed ({shortened(last.strip())}); install it"
    if done.exit_code:
        return "failed", f"exit status {done.exit_code}: {shortened(last.strip())}"
    return "passed", "exit status 0"
