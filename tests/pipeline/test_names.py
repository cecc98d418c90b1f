"""The names of our packages must mean our packages."""

import importlib
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("kvsync", "flows", "tasks", "deployments")


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_is_the_one_of_this_repository(name: str) -> None:
    """A stray package of the same name elsewhere on the path must not be found first."""
    found = importlib.import_module(name).__file__

    assert found is not None
    assert Path(found).is_relative_to(ROOT)


@pytest.mark.parametrize("folder", ["flows", "tasks", "deployments"])
def test_no_module_bears_the_name_of_a_package(folder: str) -> None:
    """Prefect can load a flow by path, and then such a file would hide the package of its name."""
    taken = {
        *PACKAGES,
        *sys.stdlib_module_names,
        "prefect",
        "zmq",
        "kubernetes",
        "pytest",
        "boto3",
        "kind",
        "docker",
    }

    assert {path.stem for path in (ROOT / folder).glob("*.py")} & taken == set()
