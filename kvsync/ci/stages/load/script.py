"""A load stage whose requests k6 or Locust sends by a script: the same thresholds, by what it measured."""

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path, PurePath

from kvsync.ci.project.load_stage import TOOLS, LoadStageTable
from kvsync.ci.project.relations import filled
from kvsync.ci.stages.command_stage import GRACE_S, free_label
from kvsync.ci.stages.ending import why_it_ended_early
from kvsync.ci.stages.load.results import keep_load
from kvsync.ci.stages.load.setup import require_network, set_up, tell, variables
from kvsync.ci.stages.load.tools import REMARK, ScriptLoad, command_of, k6_load, locust_load
from kvsync.ci.stages.stage import StageContext
from kvsync.errors import ConfigError
from kvsync.testing.load.http.judgement import judged
from kvsync.testing.load.http.thresholds import parse
from kvsync.testing.processes.runner import CommandResult, run
from kvsync.testing.results.outcome import Check, StageResult, merge
from kvsync.testing.results.verdicts import NotRun

OWN_THRESHOLDS = 99
"""How k6 says that a threshold in its script was crossed."""
HAD_FAILURES = 1
"""How Locust says that requests failed."""

MENDS = {
    "k6": "install it (https://k6.io), or name it in `program`",
    "locust": 'install it with `prepare`, and name it in `program`, such as ".venv/bin/locust"',
}


@dataclass(frozen=True, slots=True)
class ScriptStage:
    """Runs the script of `table` within `timeout_s`; `values` are what its words may name in braces."""

    name: str
    table: LoadStageTable
    timeout_s: float
    values: Mapping[str, str] = field(default_factory=dict)

    def run(self, context: StageContext) -> StageResult:
        """Run the script; what it measured is in the run's `evidence/<stage>/`, its output in `logs/`."""
        require_network(context)
        started, started_at = time.monotonic(), datetime.now(UTC)
        label, script = free_label(context.run_dir, self.name), str(self.table.script)
        values = {**self.values, "profile": context.profile, "seed": str(context.seed)}
        tool, thresholds = TOOLS[PurePath(script).suffix], [parse(each) for each in self.table.thresholds]
        program = self._program(context, tool, values)
        tell(context, self.name, thresholds)
        set_up(context, self.table, values, label, self.timeout_s)
        out = context.run_dir / "evidence" / label
        out.mkdir(parents=True)
        results, target = out / f"{tool}.json", filled(self.table.target, values)
        options = [filled(word, values) for word in self.table.options]
        command = run(
            command_of(tool, program, filled(script, values), target, str(results), options),
            log=context.run_dir / "logs" / f"{label}.log",
            timeout_s=self.timeout_s - (time.monotonic() - started),
            cwd=context.repository,
            env={**variables(self.table, values), "TARGET": target},
            environ=context.environ,
            stop=context.stop,
            ledger=context.ledger,
            grace_s=GRACE_S,
        )
        why = why_it_ended_early(command)
        load, doubt = _read(tool, results)
        offered = load.offered(why)
        checks = [*judged(offered, thresholds), *_own(tool, command)]
        keep_load(self.name, out, offered, thresholds, checks)
        result = merge(self.name, checks, started_at=started_at, duration_s=time.monotonic() - started)
        for each in filter(None, [why, doubt, "" if why else _unexplained(tool, command, load)]):
            result = result.doubted(each)
        return replace(result, log=f"logs/{label}.log", remarks=(*result.remarks, REMARK.format(tool)))

    def _program(self, context: StageContext, tool: str, values: Mapping[str, str]) -> str:
        if self.table.program:
            named = filled(self.table.program, values)
            path = context.repository / named
            found = str(path) if path.exists() else None
            said = f"there is no {named}"
        else:
            found = shutil.which(tool, path=(context.environ or {}).get("PATH"))
            said = f"{tool} is not on PATH"
        if found is None:
            raise NotRun(f"{said}: {MENDS[tool]}")
        return found


def _read(tool: str, path: Path) -> tuple[ScriptLoad, str]:
    """Return what a tool wrote, and why there is a doubt about it."""
    nothing = ScriptLoad(tallies={}, seconds=0.0)
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return (k6_load(file) if tool == "k6" else locust_load(file.read())), ""
    except OSError as exc:
        return nothing, f"{tool} wrote no results: {exc.strerror or exc}"
    except ConfigError as exc:
        return nothing, "; ".join(exc.problems)


def _own(tool: str, command: CommandResult) -> list[Check]:
    """Return the thresholds that k6's script has itself, as one check, where they were crossed."""
    if tool != "k6" or command.exit_code != OWN_THRESHOLDS:
        return []
    detail = "k6 says that a threshold in the script was crossed; the log has which"
    return [Check(name="thresholds of the script", kind="failed", detail=detail, log_tail=command.tail)]


def _unexplained(tool: str, command: CommandResult, load: ScriptLoad) -> str:
    """Say that a tool ended otherwise than what it measured explains; "" if it did not."""
    failed = any(each.failed for each in load.tallies.values())
    explained = {0, OWN_THRESHOLDS} if tool == "k6" else {0, HAD_FAILURES} if failed else {0}
    if command.exit_code in explained:
        return ""
    lines = [line.strip() for line in command.tail.splitlines() if line.strip()]
    return (
        f"{tool} ended with exit status {command.exit_code}: {lines[-1] if lines else 'it printed nothing'}"
    )
