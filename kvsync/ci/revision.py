"""Which code a run tested."""

import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

GIT_TIMEOUT_S = 10


@dataclass(frozen=True, slots=True)
class Revision:
    """A commit, and whether the files differed from it. Without git or a repository, `commit` is "".

    `branch` is "" too where none is checked out.
    """

    commit: str = ""
    dirty: bool = False
    branch: str = ""


def revision(repository: Path, *, reports: Path, results: Iterable[Path] = ()) -> Revision:
    """Ask git; a folder that is not a checkout is not an error: its revision is just not known.

    What runs leave in `reports` changes no code, nor do files of `results`. All paths are absolute.
    """
    left = [each for each in (reports, *results) if repository in each.parents]
    apart = ["--", ".", *(f":(exclude,literal){each}" for each in left)] if left else []
    try:
        lines = _git(repository, "status", "--porcelain=v2", "--branch", *apart).splitlines()
    except (OSError, subprocess.SubprocessError):
        return Revision()
    heads = dict(line.split(" ", 2)[1:] for line in lines if line.startswith("# branch."))
    commit, branch = heads["branch.oid"], heads["branch.head"]
    if commit == "(initial)":
        return Revision()
    dirty = any(not line.startswith("#") for line in lines)
    return Revision(commit, dirty, "" if branch == "(detached)" else branch)


def commit_time(repository: Path) -> datetime | None:
    """Return when the commit that is checked out was made; None where git knows nothing."""
    try:
        return datetime.fromtimestamp(int(_git(repository, "show", "-s", "--format=%ct", "HEAD")), UTC)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def top_level(folder: Path) -> Path | None:
    """Return the top of the git repository that a folder is in; None if it is in none."""
    try:
        return Path(_git(folder, "rev-parse", "--show-toplevel"))
    except (OSError, subprocess.SubprocessError):
        return None


def leave_out(folder: Path) -> Path | None:
    """Let git leave a folder out, in this clone alone: no file of the repository is touched.

    Returns the file that says so; None where git leaves it out already, or it is in no repository.
    """
    around = next(each for each in folder.parents if each.is_dir())
    try:
        top = Path(_git(around, "rev-parse", "--show-toplevel"))
        if not folder.is_relative_to(top) or _git(top, "ls-files", "--", str(folder)):
            return None
        if _is_left_out(top, folder):
            return None
        file = top / _git(top, "rev-parse", "--git-path", "info/exclude")
        file.parent.mkdir(parents=True, exist_ok=True)
        before = file.read_text(encoding="utf-8") if file.exists() else ""
        line_end = "" if not before or before.endswith("\n") else "\n"
        pattern = f"/{folder.relative_to(top).as_posix()}/"
        file.write_text(f"{before}{line_end}{pattern}\n", encoding="utf-8")
        return file
    except (OSError, subprocess.SubprocessError):
        return None


def _is_left_out(top: Path, folder: Path) -> bool:
    words = ["git", "-C", str(top), "check-ignore", "--quiet", f"{folder}/x"]
    return subprocess.run(words, check=False, timeout=GIT_TIMEOUT_S).returncode == 0


def tracked_files(repository: Path) -> list[str] | None:
    """Return the files that git knows in a folder, by their path from there; None where git knows nothing."""
    try:
        return list(filter(None, _git(repository, "ls-files", "-z").split("\0")))
    except (OSError, subprocess.SubprocessError):
        return None


def difference_from(repository: Path, base: str) -> str | None:
    """Return what changed since a folder left `base`, as a unified diff without context; None without it."""
    plain = [
        "-c",
        "core.quotepath=on",
        "-c",
        "diff.noprefix=false",
        "-c",
        "diff.mnemonicprefix=false",
        "diff",
    ]
    options = ["--no-color", "--no-ext-diff", "--no-textconv", "--relative", "-U0", "--merge-base"]
    try:
        return _git(repository, *plain, *options, "--end-of-options", base)
    except (OSError, subprocess.SubprocessError):
        return None


def parted_at(repository: Path, base: str) -> str:
    """Return the commit at which what is checked out left `base`; "" where git knows none."""
    try:
        return _git(repository, "merge-base", "--end-of-options", "HEAD", base)
    except (OSError, subprocess.SubprocessError):
        return ""


def repository_name(where: str, web_url: str) -> str:
    """Return the one name of a repository: owner/name on the server in `web_url`, host/path on another.

    `where`: a URL, or a folder, which is named by its remote `origin` or else by its path.
    """
    if (folder := Path(where.removeprefix("file://"))).is_dir():
        folder = folder.resolve()
        try:
            if Path(_git(folder, "rev-parse", "--show-toplevel")) != folder:
                return str(folder)  # in somebody's checkout, and not all of it
            where = _git(folder, "config", "--get", "remote.origin.url")
        except (OSError, subprocess.SubprocessError):
            return str(folder)
    if not (found := _host_and_path(where)):
        return where
    host, path = found
    return path if f"//{host}/" in f"{web_url.lower()}/" else f"{host}/{path}"


def address(url: str) -> str:
    """Return host/path of what git fetches from a server, however it is reached; "" for a folder."""
    is_folder = url.startswith("file:") or not re.match(r"\w+://|[^/]+:", url)
    found = None if is_folder else _host_and_path(url)
    return "/".join(found) if found else ""


def _host_and_path(where: str) -> tuple[str, str] | None:
    found = _ADDRESS.fullmatch(where)
    return (found["host"].lower(), found["path"].strip("/").removesuffix(".git")) if found else None


_ADDRESS = re.compile(r"(?:\w+://)?(?:[^/@\s]*@)?(?P<host>[\w.-]+)(?::\d+(?=/)|:)?(?P<path>[^\s]+)")
"""An address as git takes it, over HTTP or SSH; a password in it stays behind."""


def _git(repository: Path, *words: str) -> str:
    argv = ["git", "-C", str(repository), *words]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=GIT_TIMEOUT_S)
    return done.stdout.strip()
