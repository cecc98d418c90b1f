"""The files of one commit, fetched by git into a separate folder.

What a contributor wrote is only data here: no hook or submodule runs, nothing prompts for a password, and
neither a URL nor a hash is ever read as an option.
"""

import re
import shlex
import shutil
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from kvsync.ci.concealment import handing_over
from kvsync.ci.run_folder import RunFolder
from kvsync.ci.stages.stage import StageContext
from kvsync.testing.errors import CommandError
from kvsync.testing.processes.commands import Commands
from kvsync.testing.results.outcome import Check, StageResult, merge
from kvsync.testing.results.verdicts import NotRun

TIMEOUT_S = 300.0
HEAD_TIMEOUT_S = 60.0

NAME = "workspace"
"""The name of the stage, its result and its log."""

NO_REF = "couldn't find remote ref"
"""What git says of a branch that a server does not have."""

BASE = "base"
"""The file with the hash of the commit at which both parted, in the folder of the gate."""

DEPTHS = (50, 1000, 10000)
"""How many commits of both are fetched until that is found."""

CHANGED = "changed"
"""The file with the paths that a commit changes, in the folder of the gate."""

GIT = ("git", "-c", "core.hooksPath=/dev/null", "-c", "protocol.ext.allow=never")


@dataclass(frozen=True, slots=True)
class WorkspaceStage:
    """Fetches a commit into the repository of the context, which is created afresh.

    With `gate`, a ref of the server, the `files` of it come into `at_gate`: as many as there are.

    `token` gives access to a private repository over HTTPS; git asks for it through a socket, for every user
    sees command lines, and other programs of this user its environment. Raises NotRun in git's words, such as
    that the server no longer has the commit.
    """

    url: str
    commit: str
    token: str = field(default="", repr=False)
    gate: str = ""
    files: Sequence[Path] = ()
    name: str = NAME

    def run(self, context: StageContext) -> StageResult:
        """See Stage; its one check is the commit."""
        started_at, folder = datetime.now(UTC), context.repository
        log = RunFolder(context.run_dir).logs / f"{self.name}.log"
        commands = Commands(log=log, ledger=context.ledger, stop=context.stop, environ=context.tools)
        shutil.rmtree(folder, ignore_errors=True)
        context.ledger.intend("path", str(folder))
        self._git(commands, self.commit, "init", "--quiet", "--", str(folder))
        self._fetch(commands, folder, self.commit)
        self._git(commands, self.commit, "-C", str(folder), "checkout", "--quiet", "--detach", "FETCH_HEAD")
        if self.gate:
            self._fetch_gate(commands, folder)
        took_s = (datetime.now(UTC) - started_at).total_seconds()
        check = Check(name=f"commit {self.commit}", kind="passed", duration_s=took_s)
        relative = str(log.relative_to(context.run_dir))
        return merge(self.name, [check], started_at=started_at, duration_s=took_s, log=relative)

    def _fetch_gate(self, commands: Commands, folder: Path) -> None:
        into = at_gate(folder)
        into.mkdir()
        try:
            self._fetch(commands, folder, self.gate)
        except NotRun as exc:
            if NO_REF not in str(exc):
                raise
            # The branch is gone; contributors cannot move the one that the server has as its own either.
            self._fetch(commands, folder, "HEAD")
        difference = (
            "diff",
            "--name-only",
            "-z",
            "--no-renames",
            "--no-ext-diff",
            f"--output={into / CHANGED}",
        )
        commands.run([*GIT, "-C", str(folder), *difference, "FETCH_HEAD", "HEAD", "--"], timeout_s=TIMEOUT_S)
        for file in self.files:
            words = ("-C", str(folder), f"--work-tree={into}", "checkout", "--quiet", "FETCH_HEAD", "--")
            # With an index of its own, so that the commit's does not change.
            with suppress(CommandError):  # it is not there
                env = {"GIT_INDEX_FILE": str(into / "index")}
                commands.run([*GIT, *words, str(file)], timeout_s=TIMEOUT_S, env=env)
        (into / BASE).write_text(self._parted_at(commands, folder))

    def _parted_at(self, commands: Commands, folder: Path) -> str:
        """Return the commit at which the tested one left the gate; "" if that is too long ago."""
        gate = self._git(commands, self.gate, "-C", str(folder), "rev-parse", "FETCH_HEAD").strip()
        for depth in DEPTHS:
            with suppress(NotRun):  # a server may refuse a commit that no branch leads to any more
                self._fetch(commands, folder, self.commit, gate, depth=depth)
            with suppress(NotRun):
                return self._git(commands, gate, "-C", str(folder), "merge-base", gate, self.commit).strip()
        return ""

    def _fetch(self, commands: Commands, folder: Path, *what: str, depth: int = 1) -> None:
        words = (
            "-C",
            str(folder),
            "fetch",
            "--quiet",
            f"--depth={depth}",
            "--no-tags",
            "--",
            self.url,
            *what,
        )
        self._git(commands, " ".join(what), *words, token=self.token)

    def _git(self, commands: Commands, what: str, *words: str, token: str = "") -> str:
        try:
            return _git(commands, words, self.url, token, TIMEOUT_S)
        except CommandError as exc:
            said = " ".join(exc.tail.split())
            raise NotRun(f"{what} cannot be fetched from {self.url}: {said}") from exc


def changed_paths(workspace: Path) -> list[str] | None:
    """Return the paths in which a commit differs from what gates it; None where that was not fetched.

    What changed in the latter meanwhile is among them.
    """
    try:
        content = (at_gate(workspace) / CHANGED).read_bytes()
    except OSError:
        return None
    return [path.decode(errors="replace") for path in content.split(b"\0") if path]


def left_base_at(workspace: Path) -> str:
    """Return the commit at which a fetched commit left what gates it; "" where that is not known."""
    try:
        return (at_gate(workspace) / BASE).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def at_gate(workspace: Path) -> Path:
    """Return the folder with the files of the gate, which goes when the workspace goes."""
    return workspace / ".git" / "gate"


def head(url: str, branch: str, context: StageContext, token: str = "") -> str:
    """Return the hash of the commit that a branch points to now.

    Raises NotRun in git's words, including when there is no such branch.
    """
    log = RunFolder(context.run_dir).logs / f"{NAME}.log"
    commands = Commands(log=log, ledger=context.ledger, stop=context.stop, environ=context.tools)
    ref = f"refs/heads/{branch}"
    try:
        said = _git(commands, ("ls-remote", "--", url, ref), url, token, HEAD_TIMEOUT_S)
    except CommandError as exc:
        said = exc.tail
    found = re.search(rf"^([0-9a-f]{{40}})\t{re.escape(ref)}$", said, re.MULTILINE)
    if not found:
        why = " ".join(said.split()) or "there is no such branch"
        raise NotRun(f"the head of {branch} of {url} cannot be found: {why}")
    return found[1]


def _git(commands: Commands, words: Sequence[str], url: str, token: str, timeout_s: float) -> str:
    """Run git, which gets the token only if a server over HTTPS asks for one."""
    quiet = {"GIT_TERMINAL_PROMPT": "0", "GIT_CONFIG_NOSYSTEM": "1"}
    if not token or not url.startswith("https://"):
        return commands.run([*GIT, *words], timeout_s=timeout_s, env=quiet)
    answer = f"username=x-access-token\npassword={token}\n"
    with handing_over(answer) as handed:
        # Not `cat <&N`: some shells know descriptors of one digit only.
        tells = shlex.join([sys.executable, "-I", "-S", "-c", f"print(open({handed}).read())"])
        helper = ("-c", "credential.helper=", "-c", f"credential.helper=!{tells}")
        return commands.run([*GIT, *helper, *words], timeout_s=timeout_s, env=quiet, descriptors=[handed])
