"""A stage that runs a folder of pytest tests in a process of its own.

The result is read from the lines that the plugin writes while tests run, not from what pytest writes at its
end: a run that was killed still has every test it finished, names the one that was running, and lists those
it never reached. Pytest's exit code must agree with the lines, or the stage is UNKNOWN.
"""

import json
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Literal

import kvsync
from kvsync.ci.project.relations import filled
from kvsync.ci.project.shards import Shard
from kvsync.ci.run_folder import RunFolder
from kvsync.ci.stages.command_stage import CommandStage
from kvsync.ci.stages.ending import kind_of_running, why_it_ended_early
from kvsync.ci.stages.place import CarryOut, place
from kvsync.ci.stages.profiles import measuring, profiling, said_of_profiles
from kvsync.ci.stages.recorded import checks_from
from kvsync.ci.stages.sharding import COLLECT, durations_file, files_of, recorded_tests, told_tests, verified
from kvsync.ci.stages.stage import LOCAL, StageContext, repeated
from kvsync.testing.processes.runner import CommandResult, run
from kvsync.testing.processes.scratch import scratch
from kvsync.testing.results.attempts import again, refused, to_retry, unknown_tests
from kvsync.testing.results.history import Record, read_lines
from kvsync.testing.results.outcome import OUTCOMES, Checks, Outcome, StageResult, merge
from kvsync.testing.results.texts import shortened
from kvsync.testing.results.verdicts import NotRun

GRACE_S = 15.0
"""For tests that are being ended: what their clusters look like is read first, which takes 8 s at most."""

COMPLAINT = re.compile(r"^(.*: error: |ERROR: |INTERNALERROR> +\w*(Error|Exception)\b|E  +\w)")
"""How the lines begin in which pytest says why it ran nothing."""

BURN_IN_ROOM_S = 20.0
"""What a repetition needs besides twice the time of its tests, so that it does not reach the time limit."""


PROBE = "import kvsync, kvsync.testing.pytest_plugin; raise SystemExit(kvsync.__version__ != {!r})"
"""Asks an interpreter for our plugin; its options may be others in another version."""

PROBE_S = 60.0


@dataclass(frozen=True, slots=True)
class PytestStage:
    """Runs the tests in `folder` of the repository within `timeout_s`; `clustered`: on the run's cluster.

    With `retries` (0 or 1) tests that may have failed by chance are tried again once, in another process.
    New tests that passed run `burn_in` times: ten runs catch 98 % of tests that fail every third time.

    `python` is the project's own interpreter, "" for the pipeline's. Where it has not our plugin, in our
    version, the result is read from JUnit. `values` are what words may name. `measured`: the folders whose
    coverage is measured meanwhile, none for what the project says; None: nothing is.
    `profile`: what is profiled meanwhile. `shard`: which part of the tests it has, None for all.
    """

    name: str
    folder: str
    timeout_s: float
    clustered: bool = False
    retries: Literal[0, 1] = 0
    burn_in: int = 10
    python: str = ""
    options: Sequence[str] = ()
    workers: int | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    measured: Sequence[str] | None = None
    profile: Literal["", "time", "memory"] = ""
    values: Mapping[str, str] = field(default_factory=dict)
    shard: Shard | None = None

    def run(self, context: StageContext) -> StageResult:
        """Run the tests; pytest's output goes to the run's `logs/<stage>.log`, of attempt 2 to `-2.log`."""
        folder = RunFolder(context.run_dir)
        if self._needs_machine(context) and not folder.machine.exists():
            return StageResult.unknown(self.name, f"not run: the {context.cluster} cluster could not be made")
        if self.python and not self._has_plugin(context):
            result = self._read_from_junit(context)
            return replace(result, remarks=(*result.remarks, *said_of_profiles(context.run_dir, self.name)))
        result = self._tested(context)
        if self.shard and not repeated(self.name, context):
            result = verified(result, recorded_tests(folder.tests(self.name)), context, self.shard)
        return replace(result, remarks=(*result.remarks, *said_of_profiles(context.run_dir, self.name)))

    def _tested(self, context: StageContext) -> StageResult:
        """Run the tests with our plugin, and again what is new or may have failed by chance."""
        result = self._attempt(context, repeated(self.name, context), self.timeout_s)
        result = self._burn_in(context, result)
        if not self.retries or context.attempt > 1 or context.keep:
            return result
        others = [each for each in RunFolder(context.run_dir).results() if each.name != self.name]
        retry = to_retry(result, others)
        if retry.refusal:
            return refused(result, retry.refusal)
        if not retry.names:
            return result
        return again(result, self._attempt(context, retry.names, self.timeout_s - result.duration_s))

    def _burn_in(self, context: StageContext, result: StageResult) -> StageResult:
        """Repeat the new tests that passed while there is time, so that a flaky one is seen at once."""
        new, log = unknown_tests(result, context.known), result.log
        took_s = sum(check.duration_s for check in result.checks if check.name in new)
        for _ in range(self.burn_in - 1 if new else 0):
            left_s = self.timeout_s - result.duration_s
            if left_s < 2 * took_s + BURN_IN_ROOM_S or context.stop.is_set():
                break
            result = replace(again(result, self._attempt(context, new, left_s)), log=log)
        return result

    def _attempt(self, context: StageContext, only: Sequence[str], timeout_s: float) -> StageResult:
        """Run the stage, or `only` these tests of it, once."""
        tests = RunFolder(context.run_dir).tests(self.name)
        before = list(map(_is_collection, read_lines(tests)))
        attempt = 1 + sum(before)
        label = self.name if attempt == 1 else f"{self.name}-{attempt}"
        argv = self.command(context, label)
        if attempt > 1:
            argv += [f"--attempt={attempt}"]
        inputs = [context.trace] if context.trace else []
        if only:
            selection = tests.with_name(f"{label}-only.json")
            selection.write_text(json.dumps(only))
            argv += [f"--only={selection}"]
            inputs.append(selection)
        elif self.shard:
            inputs.append(durations_file(context, self.shard))
            argv += [f"--shard={self.shard}", f"--durations-file={inputs[-1]}"]
        carry_out = self._place(context, label, inputs)
        started_at, log = datetime.now(UTC), f"logs/{label}.log"
        (context.run_dir / "tmp").mkdir(parents=True, exist_ok=True)  # pytest makes the last level only
        with self._temporary(context) as temporary:
            command = carry_out(
                argv,
                log=context.run_dir / log,
                timeout_s=timeout_s,
                cwd=context.repository,
                env={**self._variables(context), **temporary},
                environ=context.environ,
                stop=context.stop,
                ledger=context.ledger,
                grace_s=GRACE_S,
            )
        records = islice(read_lines(tests), len(before), None)
        result = result_from(records, command, name=self.name, started_at=started_at)
        return replace(result, log=log)

    def _place(self, context: StageContext, label: str, inputs: Sequence[Path]) -> CarryOut:
        """Return what runs the tests: a box, unless they need a cluster that is reached by the network."""
        return run if self._needs_machine(context) else place(context, self.name, label, inputs)

    def _variables(self, context: StageContext) -> dict[str, str]:
        """Return what pytest gets besides the variables of the context."""
        ours = {"PYTHONUNBUFFERED": "1", "HYPOTHESIS_STORAGE_DIRECTORY": str(context.run_dir / "hypothesis")}
        if self.python:
            bin_folder = self._interpreter(context).parent
            # Our own packages would come before those of the project.
            ours |= {"PYTHONPATH": "", "VIRTUAL_ENV": str(bin_folder.parent)}
            if path := (context.environ or {}).get("PATH"):
                ours["PATH"] = os.pathsep.join([str(bin_folder), path])
        else:
            # Processes that tests start also run the code under test.
            given = (context.environ or {}).get("PYTHONPATH")
            ours["PYTHONPATH"] = os.pathsep.join(filter(None, [str(context.repository), given]))
        values = self._values(context)
        return {**ours, **{name: filled(text, values) for name, text in self.environment.items()}}

    def _values(self, context: StageContext) -> dict[str, str]:
        ours = {"profile": context.profile, "seed": str(context.seed), "workers": str(self.workers or 1)}
        return {**self.values, **ours}

    def _interpreter(self, context: StageContext) -> Path:
        """Return the project's interpreter, not what it is a link to: that would not know its packages."""
        path = context.repository / filled(self.python, self._values(context))
        if not path.exists():
            raise NotRun(
                f"there is no {path.relative_to(context.repository)}; let `prepare` in stages.toml make it"
            )
        return path

    def _has_plugin(self, context: StageContext) -> bool:
        """Say whether the project's interpreter has our plugin, in our version."""
        return self.ask(context, "python", ["-c", PROBE.format(kvsync.__version__)]).exit_code == 0

    def ask(
        self,
        context: StageContext,
        what: str,
        words: Sequence[str],
        inputs: Sequence[Path] = (),
        timeout_s: float = PROBE_S,
    ) -> CommandResult:
        """Run the interpreter of the tests with words, where the tests run; `what` names the log."""
        name = f"{self.name}-{what}"
        return self._place(context, name, inputs)(
            [self._python(context), *words],
            log=context.run_dir / "logs" / f"{name}.log",
            timeout_s=timeout_s,
            cwd=context.repository,
            env=self._variables(context),
            environ=context.environ,
            stop=context.stop,
            ledger=context.ledger,
        )

    def _python(self, context: StageContext) -> str:
        return str(self._interpreter(context)) if self.python else sys.executable

    def _pytest(self, context: StageContext, label: str, paths: Sequence[str]) -> list[str]:
        """Return the words that start pytest, measured if that is asked for."""
        measures = (
            []
            if self.measured is None
            else measuring(context.run_dir, self.name, label, self.folder, self.measured)
        )
        profiles = profiling(context.run_dir, self.name, label, self.profile) if self.profile else []
        return [self._python(context), *profiles, *measures, "-m", "pytest", *paths, "-v", "--color=no"]

    def _read_from_junit(self, context: StageContext) -> StageResult:
        """Run the tests of an interpreter that has not our plugin; a shard is a choice of files."""
        every = self._every_test(context) if self.shard else []
        if self.shard is None or not every:  # pytest itself then says why there are none
            return self._with_junit(context, [self.folder]).run(context)
        files = files_of(every, context, self.shard)
        if not files:
            return verified(StageResult.unknown(self.name, "no test"), every, context, self.shard)
        result = self._with_junit(context, ["--rootdir=.", *files]).run(context)
        return verified(result, every, context, self.shard, by_file=True)

    def _every_test(self, context: StageContext) -> list[str]:
        """Return all tests that there are; none if they cannot be collected."""
        words = [self.folder, "--rootdir=.", "--collect-only", "-q", *self._more(self._values(context))]
        asked = self.ask(context, "collection", ["-c", COLLECT, *words], timeout_s=self.timeout_s)
        log = context.run_dir / "logs" / f"{self.name}-collection.log"
        return told_tests(log) or [] if asked.exit_code == 0 else []

    def _with_junit(self, context: StageContext, paths: Sequence[str]) -> CommandStage:
        """Return the same tests as a program that says in JUnit how they ended."""
        values = self._values(context)
        # Of the families this is the one that says in which file a test is.
        argv = [*self._pytest(context, "1", paths), "--junitxml={out}/junit.xml", "-o", "junit_family=xunit1"]
        return CommandStage(
            self.name,
            argv=[*argv, *self._more(values)],
            timeout_s=self.timeout_s,
            results=("{out}/junit.xml",),
            format_name="junit",
            retries=self.retries,
            workers=self.workers,
            environment=self._variables(context),
            values=self.values,
        )

    def _more(self, values: Mapping[str, str]) -> list[str]:
        workers = [f"--numprocesses={self.workers}", "--dist=loadfile"] if self.workers else []
        return [*workers, *(filled(word, values) for word in self.options)]

    @contextmanager
    def _temporary(self, context: StageContext) -> Iterator[dict[str, str]]:
        """Say where temporary files go on a cluster: its client keeps keys in some, which a kill leaves.

        Elsewhere some are sockets, for which a path in the run's folder may be too long.
        """
        if not self._needs_machine(context):
            yield {}
            return
        with scratch(context.ledger, context.run_dir / "temporary") as folder:
            yield {"TMPDIR": str(folder)}

    def command(self, context: StageContext, label: str) -> list[str]:
        """Return the command line; it repeats the stage when given by hand.

        Options and values are single words: pytest looks for its configuration beside every word that
        names an existing path, before it knows our options.
        """
        argv = [*self._pytest(context, label, [self.folder]), "--rootdir=."]
        argv += ["-p", "no:cacheprovider", "-p", "kvsync.testing.pytest_plugin"]
        argv += [f"--stage={self.name}", f"--run-dir={context.run_dir}", f"--profile={context.profile}"]
        argv += [f"--seed={context.seed}", f"--basetemp={context.run_dir / 'tmp' / label}"]
        argv += ["-o", "tmp_path_retention_policy=failed"]
        if self._needs_machine(context):
            argv += [f"--machine={RunFolder(context.run_dir).machine}"]
        if context.keep:
            argv += ["--keep"]
        if context.trace is not None:
            argv += [f"--trace-file={context.trace}"]
        return [*argv, *self._more(self._values(context))]

    def _needs_machine(self, context: StageContext) -> bool:
        return self.clustered and context.cluster != LOCAL


def result_from(
    records: Iterable[Record], command: CommandResult, *, name: str, started_at: datetime
) -> StageResult:
    """Merge the plugin's lines and how pytest ended; what does not fit together is never PASSED."""
    why = why_it_ended_early(command)
    checks = checks_from(
        records,
        running=kind_of_running(command),
        why=why or f"pytest ended with {command.ending}",
        tail=command.tail,
    )
    result = merge(name, checks, started_at=started_at, duration_s=command.duration_s)
    doubt = why or _disagreement(command, checks)
    return result.doubted(doubt) if doubt else result


def _is_collection(record: Record) -> bool:
    return record.get("event") == "collected"


def cut_short(records: Iterable[Record], *, name: str, why: str) -> StageResult:
    """Return the result of a stage whose runner died before it had one: what it finished counts."""
    checks = checks_from(records, running="inconclusive", why=why)
    if not checks:
        return StageResult.unknown(name, f"not run: {why}")
    return merge(name, checks, started_at=datetime.now(UTC)).doubted(why)


def _disagreement(command: CommandResult, checks: Checks) -> str:
    """Say what pytest's exit code and the recorded tests do not agree on; empty when they agree."""
    kinds = checks.kinds()
    failed = any(OUTCOMES[kind] is Outcome.FAILED or kind == "infra-error" for kind in kinds)
    agreeing = (1, 2) if failed else (0,) if checks else (5,)
    only_skipped = kinds.keys() <= {"skipped"}
    if command.exit_code in agreeing or (command.exit_code == 5 and only_skipped):
        return ""
    said = complaint(command.tail)
    if not checks and COMPLAINT.search(said):
        return said
    return f"{len(checks)} recorded tests do not explain pytest's {command.ending}: {said}"


def complaint(output: str) -> str:
    """Return the line in which pytest says what is wrong, such as `error: unrecognized arguments: --cov`; or
    else its last."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    said = [line for line in lines if COMPLAINT.search(line) and "error: usage:" not in line.lower()]
    return shortened(next(iter(said or reversed(lines)), ""))
