"""Files that a reader sees whole or not at all."""

from pathlib import Path

import pytest

from kvsync.testing.results.whole import is_partial, replacing, write_whole


def test_a_file_is_replaced_at_the_end(tmp_path: Path) -> None:
    """Until it is whole, a reader sees the earlier one; folders are made as needed."""
    path = tmp_path / "results" / "unit.json"
    write_whole(path, "earlier")

    with replacing(path) as partial:
        partial.write_text("half")
        assert path.read_text() == "earlier"
        partial.write_text("whole")

    assert path.read_text() == "whole"
    assert list(path.parent.iterdir()) == [path]


def test_what_fails_replaces_nothing(tmp_path: Path) -> None:
    """The earlier file stays, and nothing is left beside it."""
    path = tmp_path / "report.json"
    write_whole(path, b"earlier")

    with pytest.raises(ZeroDivisionError), replacing(path) as partial:
        partial.write_text(str(1 // 0))

    assert (path.read_bytes(), list(tmp_path.iterdir())) == (b"earlier", [path])


def test_writers_do_not_meet(tmp_path: Path) -> None:
    """A report and its page differ only in their suffix, and a run's guardian may write what the run does."""
    with replacing(tmp_path / "report.json") as first, replacing(tmp_path / "report.json") as second:
        with replacing(tmp_path / "report.html") as third:
            partials = {first, second, third}
            for each in partials:
                each.write_text("x")
        assert all(map(is_partial, partials))
        assert len(partials) == 3

    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "report.json"]
