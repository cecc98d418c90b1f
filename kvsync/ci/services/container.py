"""A server in a container of Docker's, at a port of the loopback; it bears the label of the run."""

import secrets
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from kvsync.ci.services.server import GRACE_S, ServerCommand
from kvsync.ci.services.service import HOST, Surroundings
from kvsync.testing.clusters.kubernetes.manifests import RUN_LABEL
from kvsync.testing.processes.scratch import scratch
from kvsync.testing.processes.tools import ON_PATH
from kvsync.testing.results.verdicts import NotRun

REMOVAL_S = 60.0
"""For Docker to remove a container on a busy machine."""


@contextmanager
def container(
    image: str,
    ports: tuple[int, int],
    around: Surroundings,
    *,
    variables: Mapping[str, str],
    files: Mapping[str, str],
    words: Sequence[str],
) -> Iterator["Container"]:
    """Give a container that is to run in the foreground; it is removed afterwards, however that ended.

    `ports`: outside and inside. `variables` are added to its environment, `files` are texts by the paths that
    they get, and `words` go to the image. Raises NotRun where there is no Docker.
    """
    if not ON_PATH.find("docker"):
        raise NotRun(
            f"there is no docker for the image {image}; install it, or set no image in kvsync-ci.toml"
        )
    name, (outside, inside) = f"kvsync-service-{secrets.token_hex(6)}", ports
    argv = ["docker", "run", f"--name={name}", f"--label={RUN_LABEL}={around.ledger.run}"]
    argv += [f"--publish={HOST}:{outside}:{inside}", *(f"--env={variable}" for variable in variables)]
    with scratch(around.ledger, Path(tempfile.gettempdir()) / name) as folder:
        for number, (at, text) in enumerate(files.items()):
            (folder / str(number)).write_text(text)
            argv.append(f"--volume={folder / str(number)}:{at}:ro")
        entry = around.ledger.intend("container", name)
        try:
            yield Container(name, image, [*argv, image, *words], variables)
        finally:
            removed = ON_PATH.ask("docker", "rm", "--force", "--volumes", name, timeout_s=REMOVAL_S)
            if removed.ok or "No such container" in removed.errors:
                around.ledger.released(entry)


@dataclass(frozen=True, slots=True)
class Container:
    """The container of a server: `argv` makes it and runs it in the foreground. A Control, through Docker."""

    name: str
    image: str
    argv: Sequence[str]
    env: Mapping[str, str] = field(repr=False)

    @property
    def source(self) -> str:
        """Of which image it is, and of which build of it."""
        said = ON_PATH.ask("docker", "image", "inspect", "--format={{.Id}}", self.image)
        build = f" ({said.lines[0].removeprefix('sha256:')[:12]})" if said.lines else ""
        return f"the image {self.image}{build}"

    def server(self, answer: Callable[[], str], *, grace_s: float = GRACE_S) -> ServerCommand:
        """Return the command of the server in it; started again, it has its files."""
        again = ["docker", "start", "--attach", self.name]
        return ServerCommand(
            argv=self.argv, answer=answer, env=self.env, grace_s=grace_s, again=again, control=self
        )

    @property
    def cannot_pause(self) -> str:
        """See Control."""
        return ""

    def ask_to_end(self, pid: int, grace_s: float) -> None:
        """See Control: the client of Docker's may be gone before the container is."""
        self._ask("stop", f"--time={max(1, round(grace_s))}")

    def kill(self, pid: int) -> None:
        """See Control."""
        self._ask("kill")

    def pause(self, pid: int) -> None:
        """See Control."""
        self._ask("pause")

    def resume(self, pid: int) -> None:
        """See Control."""
        if self.is_paused(pid):
            self._ask("unpause")

    def is_paused(self, pid: int) -> bool:
        """See Control."""
        return self._ask("container", "inspect", "--format={{.State.Paused}}") == "true"

    def clear(self) -> None:
        """See Control: Docker leaves none."""

    def _ask(self, *words: str) -> str:
        said = ON_PATH.ask("docker", *words, self.name, timeout_s=REMOVAL_S)
        return said.output.strip()
