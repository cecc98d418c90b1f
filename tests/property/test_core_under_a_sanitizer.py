"""The compiled core under AddressSanitizer: no message lets it touch memory that is not its own."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COMPILER = shutil.which("gcc") or ""
FLAGS = (
    *("-shared", "-fPIC", "-O1", "-g", "-Wall", "-Wextra", "-Werror"),
    *("-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer"),
)
MESSAGES = 1_000_000
PARTS = 10
"""Processes that get as many messages each, so that one of them that is cut off says which it was."""


def library(name: str) -> str:
    """Return where the compiler has one of its libraries; its name alone, if it has none."""
    return subprocess.run(
        [COMPILER, f"-print-file-name={name}"], capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a process whose compiled core was built with the sanitizers, without a warning."""
    runtime = [library(name) for name in ("libasan.so", "libubsan.so")] if COMPILER else []
    if not runtime or not all(map(os.path.isabs, runtime)):
        pytest.skip("needs gcc with AddressSanitizer")
    tmp_path = tmp_path_factory.mktemp("core")
    shutil.copytree(
        ROOT / "kvsync", tmp_path / "kvsync", ignore=shutil.ignore_patterns("__pycache__", "*.so", "ci")
    )
    built = tmp_path / f"kvsync/_core{sysconfig.get_config_var('EXT_SUFFIX')}"
    sources = sorted((ROOT / "kvsync/core").glob("*.c"))
    include = sysconfig.get_paths()["include"]
    argv = [COMPILER, *FLAGS, f"-I{include}", *map(str, sources), "-o", str(built)]
    subprocess.run(argv, check=True, timeout=120)
    return {
        "LD_PRELOAD": " ".join(runtime),
        "ASAN_OPTIONS": "detect_leaks=0",  # Python's own memory is not freed at its end
        "PYTHONMALLOC": "malloc",  # so that each object has bounds of its own
        "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}",
        "PATH": os.environ["PATH"],
    }


@pytest.mark.full
@pytest.mark.timeout(280)
@pytest.mark.parametrize("part", range(PARTS))
def test_no_message_reaches_beyond_its_bounds(sanitized: dict[str, str], seed: int, part: int) -> None:
    """Damaged messages of all kinds are applied, decoded or refused, and the index holds together."""
    script = ROOT / "tests/property/hostile_messages.py"
    argv = [sys.executable, "-P", str(script), str(MESSAGES), str(PARTS * seed + part)]

    done = subprocess.run(argv, env=sanitized, capture_output=True, text=True, check=False, timeout=240)

    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout.startswith(f"{MESSAGES} messages, ")
