"""The image of gateway and simulator, built from wheels on this machine: the build fetches nothing.

The wheels have the versions of requirements.lock, and suit the Python and the processor of the base image.
"""

import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

from kvsync.testing.processes.commands import Commands

DOWNLOAD_TIMEOUT_S = 600.0
BUILD_TIMEOUT_S = 600.0

PLATFORMS = ("manylinux_2_28", "manylinux_2_17", "manylinux2014", "manylinux1", "linux")
"""The tags of wheels that run on Debian 12 or newer."""

PROBE = "import platform, sys; print('%d.%d' % sys.version_info[:2], platform.machine())"


def build(tag: str, *, repository: Path, base: str, folder: Path, commands: Commands) -> None:
    """Build the image `tag` on the base image; `folder` is created for what goes into it.

    Raises CommandError when a wheel is not available or the build fails.
    """
    wheels, constraints = folder / "wheels", folder / "constraints.txt"
    wheels.mkdir(parents=True)
    locked = (repository / "requirements.lock").read_text(encoding="utf-8")
    constraints.write_text("\n".join(versions(locked.splitlines())))
    probe = ["docker", "run", "--rm", "--network=none", "--entrypoint=python", base, "-c", PROBE]
    python, processor = commands.run(probe, timeout_s=BUILD_TIMEOUT_S).split()[-2:]
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    source = _copy_source(repository, folder / "source")
    commands.run(
        [*pip, "wheel", "--no-deps", f"--wheel-dir={wheels}", str(source)], timeout_s=DOWNLOAD_TIMEOUT_S
    )
    (wheel,) = wheels.glob("kvsync-*.whl")
    target = [f"--python-version={python}", *(f"--platform={name}_{processor}" for name in PLATFORMS)]
    download = [*pip, "download", "--only-binary=:all:", f"--constraint={constraints}", f"--dest={wheels}"]
    commands.run([*download, *target, str(wheel)], timeout_s=DOWNLOAD_TIMEOUT_S)
    docker = ["docker", "build", f"--file={repository / 'infra/docker/Dockerfile'}", f"--tag={tag}"]
    arguments = [f"--build-arg=BASE_IMAGE={base}", f"--build-arg=RUN={commands.ledger.run}"]
    commands.run([*docker, *arguments, str(folder)], timeout_s=BUILD_TIMEOUT_S)


def versions(locked: Iterable[str]) -> list[str]:
    """Return the versions of a lock file without hashes, or pip would want one for our own wheel, too."""
    return [
        line.removesuffix("\\").strip() for line in locked if "==" in line and not line.startswith((" ", "#"))
    ]


def _copy_source(repository: Path, folder: Path) -> Path:
    """Copy the library's source, because building leaves files next to it."""
    folder.mkdir()
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(repository / name, folder)
    shutil.copytree(repository / "kvsync", folder / "kvsync", ignore=shutil.ignore_patterns("__pycache__"))
    return folder
