"""What users import."""

import subprocess
import sys
import types

import kvsync


def test_the_public_names_are_what_is_exported() -> None:
    """`__all__` is sorted and names every public object of the package, no more and no less."""
    public = {
        name
        for name, value in vars(kvsync).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }

    assert list(kvsync.__all__) == sorted(public)


def test_importing_the_package_stays_cheap() -> None:
    """Neither sockets nor HTTP nor validation come with the values: many simulators start side by side."""
    script = "import sys, kvsync; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30
    )

    assert {"zmq", "asyncio", "httpx", "starlette", "pydantic", "prefect"} & set(done.stdout.split()) == set()
