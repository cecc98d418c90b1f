"""What a confined command sees and may do, as a command line of bubblewrap. Pure.

- Nothing of the machine is there but what is named here: system files and the interpreter, read-only; the
  files that are tested; a folder for what comes out, in the place of the run's folder; a bounded temporary
  folder, which is its home as well.
- Namespaces of its own for processes, mounts, IPC, users and network. The network has a loopback and nothing
  else, so that local clusters work and no other process is reached, not even by an abstract socket.
- It ends with the process that started it, and everything in it ends with it: no process leaves its
  namespace.
"""

import base64
import json
import platform
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from kvsync.ci.box.seccomp import program
from kvsync.ci.settings import BoxSettings

SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc/alternatives", "/etc/fonts", "/etc/ssl")
SYSTEM_FILES = tuple(f"/etc/{name}" for name in ("ld.so.cache", "localtime", "mime.types", "nsswitch.conf"))
"""The rest of /etc is the machine's own business."""

TEMPORARY = "/tmp"  # noqa: S108  # the box's own, an empty one

USER = 61_184
"""As whom commands run where the pipeline is root's: the first of the dynamic users that systemd sets aside
(61184 to 65519), whom no account has."""

INSIDE = Path(__file__).with_name("inside.py")

NAMESPACES = ("--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts")


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxLimits:
    """What everything in a box together may use: bytes, and processes with their threads."""

    memory: int = 8 * 1024**3
    processes: int = 2048
    disk: int = 8 * 1024**3
    temporary: int = 2 * 1024**3


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """How commands are confined. `readable`: folders besides the system's, such as one of browsers."""

    readable: tuple[Path, ...] = ()
    limits: BoxLimits = BoxLimits()


def box_for(settings: BoxSettings, *, trusted: bool, pull_request: bool, roots: bool) -> Box | None:
    """Return how the code of a run is confined, None if not by us. Untrusted code always is.

    So is every commit that a pipeline of root's fetches (`roots`): its tests would be root's, too, from whom
    nothing is hidden. Where the whole pipeline runs in a container that is made for one run, that is its box.
    """
    uses = {"untrusted": not trusted, "pull-requests": not trusted or pull_request, "always": True}
    if settings.kind == "container" or not (roots or uses[settings.use]):
        return None
    limits = BoxLimits(
        memory=settings.memory,
        processes=settings.processes,
        disk=settings.disk,
        temporary=settings.temporary,
    )
    return Box(readable=settings.readable, limits=limits)


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """The files of one confined command.

    `outbox` lies where `run_dir` would; `inputs` are single files. The `workspace` may be written to if it is
    the run's own. `hidden` is empty for it, also within what is readable. `user`: whom to become, for root.
    """

    workspace: Path
    run_dir: Path
    outbox: Path
    accounts: Path
    readable: tuple[Path, ...] = ()
    hidden: tuple[Path, ...] = ()
    inputs: tuple[Path, ...] = ()
    user: int | None = None

    @property
    def owns_workspace(self) -> bool:
        """Whether the tested files are the run's own, which no other process needs."""
        return self.workspace.is_relative_to(self.run_dir)


def interpreter(package: Path) -> tuple[Path, ...]:
    """Return what this Python needs to be readable: itself, its environment, and our `package`."""
    return tuple(dict.fromkeys([Path(sys.base_prefix), Path(sys.prefix), package]))


def command(argv: Sequence[str], view: View, limits: BoxLimits, info: Path) -> list[str]:
    """Return the command that runs `argv` confined; bubblewrap writes to `info` which process is its first.

    SIGINT goes to the whole group, and is for what runs inside: bubblewrap would end at it, and with it all.
    """
    shell = 'trap "" INT; info=$1; shift; exec "$@" 9>"$info"'
    bounds = {
        "user": view.user,
        "memory": limits.memory,
        "processes": limits.processes,
        "file": max(limits.disk, limits.temporary),
    }
    calls = base64.b64encode(program(platform.machine())).decode()
    return [
        *("sh", "-c", shell, "box", str(info), "bwrap", "--as-pid-1", "--info-fd", "9"),
        *arguments(view, limits),
        *("--", sys.executable, "-I", "-S", str(INSIDE), json.dumps(bounds), calls, *argv),
    ]


def arguments(view: View, limits: BoxLimits) -> list[str]:
    """Return what bubblewrap is told. Later mounts lie on earlier ones."""
    readable = [*map(Path, SYSTEM), *map(Path, SYSTEM_FILES), *view.readable]
    workspace = "--bind" if view.owns_workspace else "--ro-bind"
    return [
        *namespaces(view.user),
        *("--proc", "/proc", "--dev", "/dev", *_tmpfs("/dev/shm", limits.temporary), "--remount-ro", "/dev"),  # noqa: S108
        *_tmpfs(TEMPORARY, limits.temporary),
        *_folders([*readable, view.workspace, view.run_dir, *view.hidden]),
        *_each("--ro-bind-try", readable),
        *_same("--ro-bind", view.accounts / "passwd", "/etc/passwd"),
        *_same("--ro-bind", view.accounts / "group", "/etc/group"),
        *_same("--ro-bind", view.accounts / "hosts", "/etc/hosts"),
        *(() if view.owns_workspace else _each(workspace, [view.workspace])),
        *(word for path in view.hidden for word in ("--perms", "0755", "--tmpfs", str(path))),
        *_folders([view.run_dir, *view.inputs]),
        *_same("--bind", view.outbox, str(view.run_dir)),
        *(_each(workspace, [view.workspace]) if view.owns_workspace else ()),
        *_each("--ro-bind", view.inputs),
        *(word for path in ("/", *map(str, view.hidden)) for word in ("--remount-ro", path)),
        *("--chdir", str(view.workspace)),
        *("--setenv", "HOME", TEMPORARY, "--setenv", "TMPDIR", TEMPORARY),
    ]


def namespaces(user: int | None) -> list[str]:
    """Return the part that needs the machine's permission.

    Root needs no user namespace to make the others, and could not become somebody else in one; it is made
    inside then (see inside.py).
    """
    ours = [*NAMESPACES, "--die-with-parent", "--hostname", "box", "--cap-drop", "ALL"]
    if user is None:
        return [*ours, "--unshare-user"]
    return [*ours, "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]


def accounts(user: int) -> dict[str, str]:
    """Return the files of names that a box has instead of the machine's."""
    return {
        "passwd": f"root:x:0:0::/:/bin/false\nbox:x:{user}:{user}::{TEMPORARY}:/bin/sh\n",
        "group": f"root:x:0:\nbox:x:{user}:\n",
        "hosts": "127.0.0.1 localhost box\n::1 localhost\n",
    }


def _tmpfs(path: str, size: int) -> list[str]:
    return ["--perms", "1777", "--size", str(size), "--tmpfs", path]


def _folders(paths: Iterable[Path]) -> list[str]:
    """Make what lies above a path; bubblewrap itself would make it for the user alone that it runs as."""
    above = {parent: None for path in paths for parent in reversed(path.parents) if parent != Path("/")}
    return [word for path in above for word in ("--perms", "0755", "--dir", str(path))]


def _each(option: str, paths: Iterable[Path]) -> list[str]:
    return [word for path in paths for word in _same(option, path, str(path))]


def _same(option: str, source: Path, target: str) -> list[str]:
    return [option, str(source), target]
