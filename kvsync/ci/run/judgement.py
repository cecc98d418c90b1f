"""The verdict on a run, made of what its folder holds; works for a run that died too."""

import json
import platform
from datetime import UTC, datetime
from pathlib import Path

from kvsync.ci.report.junit_writer import write_forms
from kvsync.ci.report.report import BROKEN_GATE, Report, versions_of
from kvsync.ci.revision import Revision
from kvsync.ci.run.accepted import ACCEPTED, accept, load_accepted
from kvsync.ci.run.kept import load_owners
from kvsync.ci.run.parameters import Parameters
from kvsync.ci.run.quarantine import NAME, PROPOSED, apply, load_quarantine
from kvsync.ci.run.run import Run
from kvsync.ci.run_folder import RunFolder
from kvsync.ci.stages.pytest_stage import cut_short
from kvsync.ci.stages.redaction import has_any, redact, redact_folder
from kvsync.errors import ConfigError
from kvsync.testing.results.history import read_lines
from kvsync.testing.results.layout import laid_out
from kvsync.testing.results.measurement import machine_facts
from kvsync.testing.results.outcome import Outcome, StageResult

PACKAGES = ("kvsync", "prefect", "pyzmq", "msgpack", "xxhash", "pytest", "hypothesis", "starlette", "uvicorn")
"""Whose versions decide what was tested."""


def judge(run: Run, *, broken: str = "") -> Report:
    """Merge the results on disk into a report, and write report.json and junit/*.xml.

    The page comes when the run was compared with others (kvsync.ci.handover.archiving). Raises OSError when
    there is no room for them, although the run held some.
    """
    parameters, folder, secrets = run.parameters, run.folder, run.installation.secrets
    folder.give_room()
    redact_folder(folder.path, secrets)
    report = compose(run, broken=broken)
    report.write(folder.report)
    facts = {
        "run": report.run,
        "attempt": str(parameters.repeat.attempt if parameters.repeat else 1),
        "commit": report.commit,
        "seed": str(parameters.seed),
        "repeat": report.command,
    }
    for result in report.stages:
        write_forms(result, folder.junit(result.name), folder.prow(result.name), facts)
    return report


def compose(run: Run, *, broken: str = "") -> Report:
    """Merge the results on disk into a report; nothing is written.

    A stage without a result is unknown, and so is the run when `broken` says that it ended badly, or when its
    disk is full: what could not be written is not known. The quarantine is the one that the run kept, at the
    date of each stage: judged again, the verdict is the same.
    """
    parameters, folder, secrets = run.parameters, run.folder, run.installation.secrets
    results = [
        made for name in ("workspace", "stages", "prepare", "cluster") if (made := folder.result(name))
    ]
    stages = [folder.result(stage) or _cut_short(folder, stage) for stage in parameters.stages]
    owners = load_owners(folder.path)
    results += [owners.beside_failures(stage) for stage in set_aside(folder, stages)]
    results += [made for name in ("coverage", "residue") if (made := folder.result(name))]
    if folder.is_full:
        results.insert(0, StageResult.unknown("disk", full_disk(parameters.report_dir)))
    if broken:
        results.append(StageResult.unknown("pipeline", broken))
    return _masked(_report(parameters, results), secrets)


def _masked(report: Report, secrets: frozenset[str]) -> Report:
    """Return a report without secrets; each is within one piece of its JSON, for line ends are escaped."""
    if not has_any(laid_out(report), secrets):
        return report
    return Report.from_json(json.loads(redact("".join(laid_out(report)), secrets)))


def full_disk(report_dir: Path) -> str:
    """Say that a report folder is full, and what to do."""
    return f"no space is left in {report_dir}; free some, such as with `kvsync-ci prune`, and run again"


def _cut_short(folder: RunFolder, stage: str) -> StageResult:
    fetched, prepared = folder.result("workspace"), folder.result("prepare")
    why = "the pipeline ended before the stage did"
    if fetched and fetched.outcome is not Outcome.PASSED:
        why = "the commit could not be fetched"
    elif folder.result("stages"):
        why = "what the repository says of its stages could not be used"
    elif prepared and prepared.outcome is not Outcome.PASSED:
        why = "what it needs could not be prepared"
    return cut_short(read_lines(folder.tests(stage)), name=stage, why=why)


def set_aside(folder: RunFolder, stages: list[StageResult]) -> list[StageResult]:
    """Return the results as they gate, without what the run's quarantine excuses and its repository accepts;
    one of these files that is unreadable is a result more."""
    try:
        quarantine = load_quarantine(folder.path / NAME)
        proposed = load_quarantine(folder.path / PROPOSED)
        accepted = load_accepted(folder.path / ACCEPTED)
    except ConfigError as error:
        return [*stages, StageResult.unknown(BROKEN_GATE, str(error))]
    judged = [apply(quarantine, stage, stage.started_at.date(), proposed) for stage in stages]
    return accept(accepted, judged)


def gating(folder: RunFolder, stage: StageResult) -> StageResult:
    """Return the result of one stage as it gates; see set_aside."""
    return set_aside(folder, [stage])[0]


def _code(parameters: Parameters) -> Revision:
    """Return what the run tested from its start; checks of another attempt say where their code differs."""
    source = parameters.source
    kept = RunFolder(parameters.run_dir).revision
    return Revision(source.commit, branch=source.ref) if source else kept or Revision()


def _report(parameters: Parameters, results: list[StageResult]) -> Report:
    code, started_at = _code(parameters), min(result.started_at for result in results)
    ended_at = datetime.now(UTC)
    elsewhere = parameters.is_ingested
    took_s = (ended_at - started_at).total_seconds()
    return Report(
        run=parameters.run,
        started_at=started_at,
        ended_at=ended_at,
        duration_s=sum(each.duration_s for each in results) if parameters.repeat or elsewhere else took_s,
        command=parameters.command,
        stages=tuple(results),
        parameters=parameters.model_dump(mode="json"),
        commit=code.commit,
        branch=code.branch,
        dirty=code.dirty,
        versions={} if elsewhere else {"python": platform.python_version()} | versions_of(PACKAGES),
        machine={} if elsewhere else machine_facts(),
    )
