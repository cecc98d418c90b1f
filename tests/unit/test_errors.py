"""Each package draws its errors in one place."""

import ast
import builtins
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

PAGES = {
    "kvsync": "kvsync/errors.py",
    "kvsync/testing": "kvsync/testing/errors.py",
    "kvsync/ci": "kvsync/ci/errors.py",
    "tasks": "kvsync/ci/errors.py",
    "flows": "kvsync/ci/errors.py",
    "deployments": "deployments/webhook/refusal.py",
}
"""Where the errors of a package are drawn; a package inside another one comes after it."""


@pytest.fixture(scope="module")
def errors() -> Mapping[str, str]:
    """The public errors of the project, each with the page that has to draw it."""
    classes = {
        node.name: ([base.id for base in node.bases if isinstance(base, ast.Name)], page)
        for package, page in PAGES.items()
        for file in (ROOT / package).rglob("*.py")
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    }

    def is_error(name: str) -> bool:
        bases, _ = classes.get(name, ([], ""))
        built_in = getattr(builtins, name, object)
        return any(map(is_error, bases)) or (isinstance(built_in, type) and issubclass(built_in, Exception))

    return {name: page for name, (_, page) in classes.items() if is_error(name)}


@pytest.mark.parametrize("page", sorted({*PAGES.values()}))
def test_a_package_draws_all_of_its_own_errors(page: str, errors: Mapping[str, str]) -> None:
    """Every public error that a package defines is on its page, and no error that does not exist."""
    text = ast.get_docstring(ast.parse((ROOT / page).read_text())) or ""

    assert {name for name, where in errors.items() if where == page} <= {*re.findall(r"\w+", text)}
    assert {*re.findall(r"── (\w+)", text)} <= errors.keys()
