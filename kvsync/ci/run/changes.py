"""Which lines the tested code changes, and since which commit, kept before anything of it runs."""

from kvsync.ci.revision import difference_from, parted_at
from kvsync.ci.run.run import Run
from kvsync.ci.stages.workspace import left_base_at


def keep_changes(run: Run) -> None:
    """Keep where the tested code left what it is compared with, and the difference, if that is known.

    A commit of its own branch changes nothing in this sense. What lies here is compared with the default
    branch: of the remote `origin`, or the one that is the reference.
    """
    folder, source, checkout = run.folder, run.parameters.source, run.parameters.checkout
    folder.changes.unlink(missing_ok=True)
    folder.base.unlink(missing_ok=True)
    if source and source.gates_itself:
        folder.changes.touch()
        return
    branch = run.settings.archive.branch
    bases = [left_base_at(checkout)] if source else ["origin/HEAD", f"origin/{branch}", branch]
    left = next(filter(None, (parted_at(checkout, base) for base in bases if base)), "")
    if left and (difference := difference_from(checkout, left)) is not None:
        folder.changes.write_text(difference, encoding="utf-8")
        folder.base.write_text(left, encoding="ascii")
