"""Runs a command in a box, and lets out of it what passes the door."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event

import psutil

import kvsync
from kvsync.ci.box.ability import PROGRAM, unable, user_inside
from kvsync.ci.box.box import INSIDE, Box, View, accounts, command, interpreter
from kvsync.ci.box.door import Door
from kvsync.ci.box.watch import BoxWatch
from kvsync.testing.processes.ledger import Ledger
from kvsync.testing.processes.runner import CommandResult, run
from kvsync.testing.processes.scratch import scratch
from kvsync.testing.processes.wait import wait_for
from kvsync.testing.results.verdicts import NotRun

END_S = 10.0
"""For the kernel to end what was alive in a box: a moment, unless there was much of it."""

SIGNALLED = 128
"""What bubblewrap, like a shell, adds to the number of the signal that ended its command."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Confinement:
    """The place of one attempt at a stage in a box. `inputs` are files of ours that it reads."""

    box: Box
    run_dir: Path
    workspace: Path
    stage: str
    label: str
    inputs: tuple[Path, ...] = ()

    def run(
        self,
        argv: Sequence[str],
        *,
        log: Path,
        timeout_s: float,
        ledger: Ledger,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        environ: Mapping[str, str] | None = None,
        stop: Event | None = None,
        grace_s: float = 5.0,
    ) -> CommandResult:
        """Run a command as `runner.run` does, with nothing left alive afterwards.

        `doubt` of the result says which limit it reached, and what the door refused. Raises NotRun with a
        mend where no box can be had.
        """
        user = user_inside()
        if why := unable(user):
            raise NotRun(why)
        with scratch(ledger, self.run_dir / f"box-{self.label}") as folder:
            view, info = self._view(folder, user), folder / "info.json"
            door = Door(view.outbox, self.run_dir, self.stage, self.inputs)
            watch = BoxWatch(
                limits=self.box.limits,
                folders=(view.outbox, *((self.workspace,) if view.owns_workspace else ())),
                first=lambda: _first(info),
                on_tick=door.follow,
            )
            with _over(info), watch.watching():
                result = run(
                    command(argv, view, self.box.limits, info),
                    log=log,
                    timeout_s=timeout_s,
                    ledger=ledger,
                    cwd=cwd,
                    env=env,
                    environ=environ,
                    stop=stop,
                    grace_s=grace_s,
                    name=f"in a box: {' '.join(argv)}",
                )
            door.take()
        code = result.exit_code
        return replace(
            result,
            exit_code=SIGNALLED - code if code > SIGNALLED else code,
            doubt="; ".join(filter(None, [watch.why, door.doubt])),
        )

    def _view(self, folder: Path, user: int | None) -> View:
        """Make the files of a box, which are the user's that it runs as."""
        readable = (*interpreter(Path(kvsync.__file__).parent), *self.box.readable)
        reports, shown = self.run_dir.parent, (self.workspace, *readable)
        view = View(
            workspace=self.workspace,
            run_dir=self.run_dir,
            outbox=folder / "outbox",
            accounts=folder,
            readable=readable,
            hidden=(reports,) if any(map(reports.is_relative_to, shown)) else (),
            inputs=self.inputs,
            user=user,
        )
        for name, content in accounts(os.getuid() if user is None else user).items():
            (folder / name).write_text(content, encoding="ascii")
        inputs = (
            each.parent.relative_to(self.run_dir) for each in self.inputs if each.is_relative_to(self.run_dir)
        )
        for place in (Path("evidence"), Path("tmp"), *inputs):  # bubblewrap would make them for itself alone
            (view.outbox / place).mkdir(parents=True, exist_ok=True)
        for earlier in (self.run_dir / "evidence").glob("*/"):
            (view.outbox / "evidence" / earlier.name).mkdir()  # its name is taken
        if user is not None:
            for owned in (view.outbox, *((self.workspace,) if view.owns_workspace else ())):
                _give(owned, user)
        return view


@contextmanager
def _over(info: Path) -> Iterator[None]:
    """Wait afterwards until nothing is alive in the box, so that nothing changes what comes out of it."""
    try:
        yield
    finally:
        wait_for(lambda: _first(info) is None, what="the end of what ran in a box", timeout_s=END_S)


def _first(info: Path) -> psutil.Process | None:
    """Return the first process of a box; None before there is one, and when all in there have ended."""
    try:
        process = psutil.Process(json.loads(info.read_text())["child-pid"])
        alive = process.status() != psutil.STATUS_ZOMBIE
        ours = process.name() == PROGRAM or str(INSIDE) in process.cmdline()
    except (FileNotFoundError, ValueError, psutil.NoSuchProcess):
        return None
    return process if alive and ours else None


def _give(folder: Path, user: int) -> None:
    """Give a folder to a user, once: what runs in there may replace a name by a link meanwhile."""
    if folder.stat().st_uid == user:
        return
    for _, folders, files, at in os.fwalk(folder):
        for name in (*folders, *files):
            os.chown(name, user, user, dir_fd=at, follow_symlinks=False)
    os.chown(folder, user, user)
