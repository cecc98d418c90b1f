"""What users install: source distribution and wheel, and the gateway from it in an empty environment."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import distributions
from pathlib import Path

import httpx
import pytest

from kvsync.testing.clusters.local.addresses import LoopbackBlock
from kvsync.testing.processes.wait import wait_for
from tests.pipeline.install.linked import link_required

ROOT = Path(__file__).resolve().parents[3]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
REQUIRED: list[str] = PYPROJECT["project"]["dependencies"]
COPIED = ("pyproject.toml", "setup.py", "README.md", "LICENSE", "kvsync", "flows", "tasks", "deployments")
PIP = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
# Compiling all that is brought takes as long as unpacking it, and most of it is never imported.
INSTALL = ("install", "--no-compile")
BUILD = "import setuptools.build_meta as backend; print(backend.build_{kind}({folder!r}))"
DEPENDENCIES = (
    "import importlib.metadata as m; print([r for r in m.requires('kvsync') if 'extra ==' not in r])"
)

BROUGHT = "import importlib.metadata as m; print(*(each.name for each in m.distributions()))"

pytestmark = pytest.mark.timeout(300)


def run(
    argv: Sequence[str | Path], *, cwd: Path, env: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run a command to its end."""
    return subprocess.run(argv, env=env, cwd=cwd, capture_output=True, text=True, timeout=200, check=False)


def checked(argv: Sequence[str | Path], *, cwd: Path, env: Mapping[str, str] | None = None) -> str:
    """Run a command that has to succeed; returns what it printed."""
    done = run(argv, cwd=cwd, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


class Environment:
    """A virtual environment; what runs in it knows neither this repository nor a compiler."""

    def __init__(self, folder: Path) -> None:
        self.bin, self.cwd = folder / "bin", folder
        # With our pip, not one of its own, which would take as long to install as all that is brought.
        checked([sys.executable, "-m", "venv", "--without-pip", folder], cwd=folder.parent)
        kept = {name: text for name, text in os.environ.items() if not name.startswith(("PYTHON", "KVSYNC"))}
        self.env = kept | {"PATH": str(self.bin), "CC": "/bin/false"}

    def __call__(self, command: str, *words: str | Path) -> str:
        """Run a command of the environment that has to succeed; returns what it printed."""
        return checked([self.bin / command, *words], cwd=self.cwd, env=self.env)

    def install(self, wheel: Path, *options: str) -> None:
        """Install a wheel, with what it requires unless the options say otherwise."""
        given: list[str | Path] = [*INSTALL, "--only-binary=:all:", *options, wheel]
        checked([*PIP, "--python", self.bin / "python", *given], cwd=self.cwd, env=self.env)

    @property
    def site(self) -> Path:
        """Where its packages lie."""
        (site,) = self.cwd.glob("lib/python*/site-packages")
        return site

    def start(self, command: str, *words: str | Path, log: Path) -> "subprocess.Popen[bytes]":
        """Start a command of the environment."""
        with log.open("wb") as out:
            return subprocess.Popen(
                [self.bin / command, *words], env=self.env, cwd=self.cwd, stdout=out, stderr=out
            )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the source, outside the repository, because building leaves files next to it."""
    folder = tmp_path_factory.mktemp("install")
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, folder)
    return folder


def built(kind: str, folder: Path, env: Mapping[str, str]) -> Path:
    """Build a distribution of the source in a folder; returns its file."""
    code = BUILD.format(kind=kind, folder="dist")
    return folder / "dist" / checked([sys.executable, "-c", code], cwd=folder, env=env).splitlines()[-1]


@pytest.fixture(scope="module")
def installed(folder: Path, request: pytest.FixtureRequest) -> Environment:
    """An environment into which the wheel was installed that was made from the source distribution."""
    tools = folder / "tools"
    required = PYPROJECT["build-system"]["requires"]
    got = run([*PIP, *INSTALL, f"--target={tools}", *required], cwd=folder)
    if got.returncode != 0:
        pytest.skip(f"needs a package index: {got.stderr.strip()[-200:]}")
    env = {**os.environ, "PYTHONPATH": str(tools), "CC": "/bin/false"}
    source = built("sdist", folder, env)
    with tarfile.open(source) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    (unpacked,) = (folder / "unpacked").iterdir()
    wheel = built("wheel", unpacked, env)
    user = Environment(folder / "user")
    if request.config.getoption("--profile") == "full":
        user.install(wheel)
    else:
        user.install(wheel, "--no-deps")
        (kvsync,) = distributions(name="kvsync", path=[str(user.site)])
        link_required(kvsync.requires or (), user.site)
    return user


def test_the_gateway_is_installed_with_its_own_dependencies_only(installed: Environment) -> None:
    """Of the extras there is nothing, the types are there, and the command says what it is."""
    names = {name.lower().replace("_", "-") for name in installed("python", "-c", BROUGHT).split()}
    typed = "import importlib.resources as r; print(r.files('kvsync').joinpath('py.typed').is_file())"

    assert "kvsync" in names
    assert names & {"pytest", "prefect", "sqlalchemy", "boto3", "matplotlib", "hypothesis"} == set()
    assert len(installed("python", "-c", DEPENDENCIES).split("', '")) == len(REQUIRED)
    assert installed("python", "-c", typed) == "True"
    version = installed("python", "-c", "import kvsync; print(kvsync.__version__)")
    assert installed("kvsync", "--version") == f"kvsync {version} (core: python)"


def test_the_compiled_core_can_be_built_from_the_source_distribution(installed: Environment) -> None:
    """It has every file of C, headers too, and what says that they are built."""
    (source,) = (installed.cwd.parent / "dist").glob("*.tar.gz")
    with tarfile.open(source) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}

    assert names >= {f"kvsync/core/{path.name}" for path in (ROOT / "kvsync/core").glob("*.[ch]")} | {
        "setup.py"
    }


def test_the_pipelines_command_says_what_it_lacks(installed: Environment) -> None:
    """Where the gateway alone was installed, it says how the pipeline is."""
    done = run([installed.bin / "kvsync-ci", "list"], cwd=installed.cwd, env=installed.env)

    assert done.returncode == 1
    assert done.stderr.startswith("kvsync-ci: ")
    assert done.stderr.endswith("the pipeline needs: pip install 'kvsync[pipeline]'\n")


@pytest.fixture
def engine(installed: Environment, tmp_path: Path) -> Iterator[str]:
    """The address of a simulated engine that runs from what was installed."""
    host = LoopbackBlock(f"install {os.getpid()}").next().host
    words = ("simulate", "--name=a", "--model=demo", f"--host={host}")
    process = installed.start("kvsync", *words, log=tmp_path / "engine.log")
    yield host
    process.kill()
    process.wait()


def test_the_installed_gateway_serves(installed: Environment, tmp_path: Path, engine: str) -> None:
    """It follows an engine, is ready, and ends in order."""
    host = LoopbackBlock(f"installed gateway {os.getpid()}").next().host
    config, log = tmp_path / "gateway.json", tmp_path / "gateway.log"
    config.write_text(json.dumps({"host": host, "pods": [{"name": "a", "model": "demo", "host": engine}]}))

    process = installed.start("kvsync", "gateway", "--config", config, log=log)
    try:
        wait_for(
            lambda: process.poll() is not None or is_ready(f"http://{host}:8080"),
            what="the installed gateway is ready",
            timeout_s=60,
            last_seen=log.read_text,
        )
    finally:
        process.terminate()
        ended = process.wait(20)
    assert ended == 0, log.read_text()


def is_ready(url: str) -> bool:
    """Say whether a gateway is ready."""
    try:
        return httpx.get(f"{url}/readyz").is_success
    except httpx.TransportError:
        return False
