"""Templates, and what is kept of them once they are compiled."""

from pathlib import Path

import pytest

from kvsync.ci.page.templates import templates


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a template."""
    (tmp_path / "page.html").write_text("<p>{{ name | loud }}</p>")
    return tmp_path


def page(folder: Path) -> str:
    """Return the page as another process would draw it."""
    return templates(folder, {"loud": str.upper}).get_template("page.html").render(name="a<b")


def test_what_is_compiled_is_kept_until_the_template_changes(folder: Path) -> None:
    """It is kept beside the template, and used as long as it is of this text."""
    kept = folder / "__pycache__"
    kept.mkdir()
    assert page(folder) == "<p>A&lt;B</p>"
    (first,) = kept.iterdir()
    compiled = first.read_bytes()

    first.write_bytes(compiled.replace(b"</p>", b"</b>"))
    assert page(folder) == "<p>A&lt;B</b>"
    (folder / "page.html").write_text("<i>{{ name | loud }}</i>")
    assert page(folder) == "<i>A&lt;B</i>"


def test_where_python_keeps_nothing_neither_do_templates(folder: Path) -> None:
    """Without its folder they are compiled each time."""
    assert page(folder) == page(folder) == "<p>A&lt;B</p>"
    assert [each.name for each in folder.iterdir()] == ["page.html"]
