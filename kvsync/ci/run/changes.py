"""Which lines the tested code changes, kept before anything of it runs."""

from kvsync.ci.revision import difference_from
from kvsync.ci.run.run import Run
from kvsync.ci.stages.workspace import left_base_at


def keep_changes(run: Run) -> None:
    """Keep the difference from where the tested code left what it is compared with, if that is known.

    A commit of its own branch changes nothing in this sense. What lies here is compared with the default
    branch: of the remote `origin`, or the one that is the reference.
    """
    folder, source, checkout = run.folder, run.parameters.source, run.parameters.checkout
    folder.changes.unlink(missing_ok=True)
    if source and source.gates_itself:
        folder.changes.touch()
        return
    branch = run.settings.archive.branch
    bases = [left_base_at(checkout)] if source else ["origin/HEAD", f"origin/{branch}", branch]
    found = (difference_from(checkout, base) for base in bases if base)
    if (difference := next((each for each in found if each is not None), None)) is not None:
        folder.changes.write_text(difference, encoding="utf-8")
