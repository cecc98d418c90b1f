"""The files of one commit, fetched by git into a separate folder.

What a contributor wrote is only data here: no hook or submodule runs, nothing prompts for a password, and
neither a URL nor a hash is ever read as an option.
"""

import re
import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

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

GIT = ("git", "-c", "core.hooksPath=/dev/null", "-c", "protocol.ext.allow=never")


@dataclass(frozen=True, slots=True)
class WorkspaceStage:
    """Fetches a commit into the repository of the context, which is created afresh.

    `token` gives access to a private repository over HTTPS; git asks for it through a socket, for every user
    sees command lines, and other programs of this user its environment. Raises NotRun in git's words, such as
    that the server no longer has the commit.
    """

    url: str
    commit: str
    token: str = field(default="", repr=False)
    name: str = NAME

    def run(self, context: StageContext) -> StageResult:
        """See Stage; its one check is the commit."""
        started_at, folder = datetime.now(UTC), context.repository
        log = RunFolder(context.run_dir).logs / f"{self.name}.log"
        commands = Commands(log=log, ledger=context.ledger, stop=context.stop, environ=context.tools)
        shutil.rmtree(folder, ignore_errors=True)
        context.ledger.intend("path", str(folder))
        here = ("-C", str(folder))
        for words, token in (
            (("init", "--quiet", "--", str(folder)), ""),
            ((*here, "fetch", "--quiet", "--depth=1", "--no-tags", "--", self.url, self.commit), self.token),
            ((*here, "checkout", "--quiet", "--detach", "FETCH_HEAD"), ""),
        ):
            try:
                _git(commands, words, self.url, token, TIMEOUT_S)
            except CommandError as exc:
                said = " ".join(exc.tail.split())
                raise NotRun(f"{self.commit} cannot be fetched from {self.url}: {said}") from exc
        took_s = (datetime.now(UTC) - started_at).total_seconds()
        check = Check(name=f"commit {self.commit}", kind="passed", duration_s=took_s)
        relative = str(log.relative_to(context.run_dir))
        return merge(self.name, [check], started_at=started_at, duration_s=took_s, log=relative)


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
