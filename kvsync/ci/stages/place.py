"""Where the command of a stage runs: on this machine, or in a box."""

from collections.abc import Callable, Sequence
from pathlib import Path

from kvsync.ci.box.confinement import Confinement
from kvsync.ci.stages.stage import StageContext
from kvsync.testing.processes.runner import CommandResult, run

CarryOut = Callable[..., CommandResult]


def place(context: StageContext, stage: str, label: str, inputs: Sequence[Path] = ()) -> CarryOut:
    """Return what runs the command of an attempt, as `runner.run` does; `inputs` are files of ours."""
    if context.box is None:
        return run
    return Confinement(
        box=context.box,
        run_dir=context.run_dir,
        workspace=context.repository,
        stage=stage,
        label=label,
        inputs=tuple(inputs),
    ).run
