"""The runner's options, as words for pytest."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

PATH = Path(__file__).parents[2] / "scripts" / "run_tests.py"


@pytest.fixture(scope="module")
def runner() -> ModuleType:
    """Give the script as a module."""
    spec = importlib.util.spec_from_file_location("run_tests", PATH)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([], ["tests/unit", "tests/grpc", "tests/e2e", "tests/concurrency", "--sizes=quick"]),
        (["--suite=e2e", "--verbose"], ["tests/e2e", "--sizes=quick", "-v"]),
        (["--suite=grpc", "--skip-slow"], ["tests/grpc", "--sizes=quick", "-m", "not slow"]),
        (
            ["--suite=e2e", "--workers=8", "--sizes=full"],
            ["tests/e2e", "--sizes=full", "--numprocesses=8", "--dist=loadfile"],
        ),
    ],
)
def test_options(runner: ModuleType, given: list[str], words: list[str]) -> None:
    """Each option has its words."""
    parsed = runner._parser().parse_args(given)

    assert runner.pytest_words(parsed) == [sys.executable, "-m", "pytest", *words]


def test_servers_are_started_where_none_is_named(runner: ModuleType) -> None:
    """Unit tests need none."""
    assert runner.needs_servers(["e2e"], {})
    assert not runner.needs_servers(["e2e"], {"GATEWAY_URL": "http://127.0.0.1:1"})
    assert not runner.needs_servers(["unit"], {})
