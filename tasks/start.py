"""The beginning of a run: its folder, its ledger, and what its stages may use."""

import os
import sys
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from prefect import task
from prefect.cache_policies import NO_CACHE

from kvsync.ci.box.box import box_for
from kvsync.ci.cleaning.launcher import LAUNCHER, is_running
from kvsync.ci.concealment import conceal, keep
from kvsync.ci.revision import revision
from kvsync.ci.run.accepted import ACCEPTED
from kvsync.ci.run.kept import keep_file, keep_owners
from kvsync.ci.run.parameters import Parameters
from kvsync.ci.run.quarantine import keep_quarantine
from kvsync.ci.run.run import Installation, Run
from kvsync.ci.stages.environment import kept_back, secrets_apart, stage_environment
from kvsync.ci.stages.redaction import redact_logs
from kvsync.ci.stages.stage import StageContext
from kvsync.testing.processes.ledger import Ledger
from kvsync.testing.processes.living import facts_of
from kvsync.testing.results.verdicts import NotRun
from tasks.guardian import FLOW_RUN_VARIABLE, post_guardian
from tasks.identity import current_flow_run
from tasks.workspace import earlier_run_of, follows_branch, newest


@task(name="start", task_run_name="start", cache_policy=NO_CACHE)
def start_run(parameters: Parameters, stop: threading.Event) -> tuple[Run, StageContext]:
    """Make the folder of the run and write down what was asked for, before anything else happens.

    Here the flow reads its environment. Raises ConfigError, before anything is made, if settings are wrong.
    """
    conceal()
    tools, secret = secrets_apart(os.environ)
    keep(secret)
    run = Run(parameters, Installation.of(os.environ))
    redact_logs(run.installation.secrets)
    folder, repeat, source = run.folder, parameters.repeat, parameters.source
    trusted, asked = not source or source.trusted, bool(source and source.pull_request)
    folder.logs.mkdir(parents=True, exist_ok=True)
    folder.hold_room()
    parameters.keep_in(folder)
    ledger = Ledger(folder.ledger, run=parameters.run)
    if not is_running(ledger.path):
        ledger.created(ledger.intend(LAUNCHER, "flow run"), **facts_of(os.getpid()))
    post_guardian(folder, current_flow_run(), os.environ)
    if FLOW_RUN_VARIABLE in os.environ:
        _print_to(folder.logs / "pipeline.log")
    if not source:
        keep_quarantine(parameters.checkout, run.settings.archive.quarantine, folder.path)
        keep_file(parameters.checkout, ACCEPTED, folder.path, ACCEPTED)
        keep_owners(parameters.checkout, folder.path)
        if not repeat or folder.revision is None:
            folder.keep_revision(revision(parameters.repository, reports=parameters.report_dir))
    seen = stage_environment(
        {**os.environ, **run.settings.vllm.variables},
        trusted=trusted,
        passed=run.settings.stages.pass_environment,
    )
    return run, StageContext(
        run_dir=folder.path,
        repository=parameters.checkout,
        ledger=ledger,
        profile=parameters.profile,
        cluster=parameters.cluster,
        seed=parameters.seed,
        trace=parameters.trace,
        keep=parameters.keep,
        attempt=repeat.attempt if repeat else 1,
        failed_only=bool(repeat and repeat.failed_only),
        other_code=repeat.other_code if repeat else "",
        environ=seen,
        ends_at=time.monotonic() + run.longest_s,
        kept_back=kept_back(os.environ, seen) if trusted else (),
        tools=tools,
        box=box_for(
            run.settings.box,
            trusted=trusted,
            pull_request=asked,
            roots=os.geteuid() == 0 and (bool(source) or follows_branch(run)),
        ),
        stop=stop,
    )


def nothing_new(parameters: Parameters) -> str:
    """Say why a run that follows a branch has nothing to test; "" if it has, or is another run."""
    if not parameters.follows or parameters.trigger != "push" or parameters.source or parameters.repeat:
        return ""
    tools, _ = secrets_apart(os.environ)
    with TemporaryDirectory() as folder:
        ledger = Ledger(Path(folder) / "ledger.jsonl")
        context = StageContext(
            run_dir=Path(folder), repository=Path(folder), ledger=ledger, tools=tools, stop=threading.Event()
        )
        (Path(folder) / "logs").mkdir()
        try:
            found = newest(Installation.of(os.environ).settings, parameters.follows, context)
        except NotRun as exc:
            return f"skipped: {exc}"
    earlier = earlier_run_of(parameters, found.commit)
    return f"skipped: {found.ref} is still at {found.commit[:10]}, which {earlier} tested" if earlier else ""


def _print_to(log: Path) -> None:
    """Let what a worker's child prints go to a file: when a worker dies, a line into its pipe ends the run.

    (rich 15 leaves the process on EPIPE; so did a run whose worker had been killed.)
    """
    with log.open("ab") as file:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(file.fileno(), stream.fileno())
