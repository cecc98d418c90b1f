"""What users import from the test kit."""

import subprocess
import sys

import pytest

import kvsync.testing


@pytest.mark.parametrize("name", kvsync.testing.__all__)
def test_a_public_name_can_be_imported(name: str) -> None:
    """What `__all__` promises is there, and is listed by dir()."""
    assert getattr(kvsync.testing, name) is not None
    assert name in dir(kvsync.testing)


def test_public_names_are_sorted_and_no_others_are_there() -> None:
    """Another name is an AttributeError, as in any module."""
    assert list(kvsync.testing.__all__) == sorted(kvsync.testing.__all__)
    with pytest.raises(AttributeError, match=r"module 'kvsync.testing' has no attribute 'Kubernetes'"):
        kvsync.testing.Kubernetes  # noqa: B018


def test_importing_the_kit_imports_nothing_else() -> None:
    """Programs of the kit run where only the gateway's dependencies are, and start quickly."""
    script = "import sys, kvsync.testing; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30
    )
    heavy = {"httpx", "psutil", "pytest", "zmq", "kubernetes", "pydantic", "yaml", "asyncio"}

    assert heavy & set(done.stdout.split()) == set()
