"""What users of the pipeline's machinery import, and what it costs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import kvsync.ci

HEAVY = {
    "prefect",
    "sqlalchemy",
    "alembic",
    "boto3",
    "matplotlib",
    "jinja2",
    "github",
    "apprise",
    "kubernetes",
    "httpx",
}


def test_the_public_names_are_what_is_exported() -> None:
    """`__all__` is sorted as in the library, and names what type checkers see, no more and no less."""
    tree = ast.parse(Path(str(kvsync.ci.__file__)).read_text())
    (checked,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {name.name for node in checked.body if isinstance(node, ast.ImportFrom) for name in node.names}

    assert set(kvsync.ci.__all__) == seen
    assert len(kvsync.ci.__all__) == len(seen)
    assert list(kvsync.ci.__all__) == sorted(seen, key=lambda name: (not name.isupper(), name))


@pytest.mark.parametrize("name", kvsync.ci.__all__)
def test_each_name_is_there(name: str) -> None:
    """It is what its module says it is."""
    assert getattr(kvsync.ci, name) is not None


def test_other_names_are_not() -> None:
    """A mistyped name is an error as anywhere."""
    with pytest.raises(AttributeError, match="no attribute 'Rnu'"):
        kvsync.ci.Rnu  # noqa: B018


@pytest.mark.parametrize("code", ["import kvsync.ci", "import deployments.cli"])
def test_importing_stays_cheap(code: str) -> None:
    """The package, and the command before it knows what it is to do, import nothing that takes long."""
    script = f"import sys; {code}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )

    assert HEAVY & set(done.stdout.split()) == set()


def test_a_run_imports_only_what_it_uses() -> None:
    """Most have nothing to draw and nothing to send: matplotlib takes 1 s of CPU, PyGithub 0.3 s."""
    used = "kvsync.ci.page.page, kvsync.ci.site.pages, kvsync.ci.handover.github"
    script = f"import sys, {used}; print(*sys.modules)"
    words = [sys.executable, "-c", script]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60)

    assert {"matplotlib", "github"} & set(done.stdout.split()) == set()
