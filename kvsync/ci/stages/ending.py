"""How the command of a stage ended, and what that says of what was running. Pure."""

from kvsync.testing.processes.runner import CommandResult
from kvsync.testing.results.journal import FROM_OUTSIDE
from kvsync.testing.results.outcome import CheckKind


def why_it_ended_early(command: CommandResult) -> str:
    """Say what ended a command, or makes its results unbelievable; "" if it ended by itself."""
    if command.timed_out:
        return f"the stage reached its time limit after {command.duration_s:.0f} s"
    return "the run was interrupted" if command.stopped else command.doubt


def kind_of_running(command: CommandResult) -> CheckKind:
    """Say what becomes of what was running when the command ended."""
    if command.timed_out:
        return "timeout"
    if command.stopped:
        return "not-run"
    return "inconclusive" if command.doubt or command.exit_code in FROM_OUTSIDE else "error"
