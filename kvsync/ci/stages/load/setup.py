"""What goes before a load: a program that makes ready what is asked for, and a word to displays."""

from collections.abc import Mapping, Sequence

from kvsync.ci.project.load_stage import LoadStageTable
from kvsync.ci.project.relations import filled
from kvsync.ci.run_folder import RunFolder
from kvsync.ci.stages.ending import why_it_ended_early
from kvsync.ci.stages.stage import StageContext
from kvsync.testing.load.http.thresholds import Threshold
from kvsync.testing.processes.runner import run
from kvsync.testing.results.history import append_line
from kvsync.testing.results.verdicts import NotRun

GRACE_S = 5.0


def require_network(context: StageContext) -> None:
    """Raise NotRun where requests lead nowhere."""
    if context.box:
        raise NotRun("it sends requests, and in a box there is no network: run it for trusted commits")


def tell(context: StageContext, stage: str, thresholds: Sequence[Threshold]) -> None:
    """Say what is judged now, for displays, and for the report of a run that dies meanwhile."""
    tests = RunFolder(context.run_dir).tests(stage)
    tests.parent.mkdir(parents=True, exist_ok=True)
    names = [each.text for each in thresholds]
    append_line(tests, {"event": "collected", "nodeids": names, "count": len(names)})
    for name in names:
        append_line(tests, {"event": "started", "nodeid": name})


def variables(table: LoadStageTable, values: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of programs of a stage, without the pipeline's own packages."""
    return {"PYTHONPATH": "", **{name: filled(text, values) for name, text in table.environment.items()}}


def set_up(
    context: StageContext, table: LoadStageTable, values: Mapping[str, str], label: str, timeout_s: float
) -> None:
    """Run the program in `setup`, if there is one. Raises NotRun when it does not make ready."""
    if not table.setup:
        return
    log = context.run_dir / "logs" / f"{label}-setup.log"
    command = run(
        [filled(word, values) for word in table.setup],
        log=log,
        timeout_s=timeout_s,
        cwd=context.repository,
        env=variables(table, values),
        environ=context.environ,
        stop=context.stop,
        ledger=context.ledger,
        grace_s=GRACE_S,
    )
    why = why_it_ended_early(command)
    if why or command.exit_code:
        lines = [line.strip() for line in command.tail.splitlines() if line.strip()]
        said = lines[-1] if lines else "it printed nothing"
        ended = why or f"it ended with exit status {command.exit_code}: {said}"
        raise NotRun(f"the program in `setup` did not make it ready: {ended} (logs/{log.name})")
