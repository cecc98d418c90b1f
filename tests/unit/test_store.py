"""The directory store: keys are paths below its root, and files appear whole."""

from pathlib import Path

import pytest

from kvsync.errors import UnknownName
from kvsync.testing.store import DirectoryStore


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    """An empty store."""
    return DirectoryStore(tmp_path / "store")


def written(tmp_path: Path, text: str) -> Path:
    """Return a file with this content."""
    path = tmp_path / "source.txt"
    path.write_text(text)
    return path


def test_what_was_put_is_got(store: DirectoryStore, tmp_path: Path) -> None:
    """A stored file has the content of its source and an address that leads to it."""
    url = store.put("run-1/report.html", written(tmp_path, "hello"))

    assert store.get("run-1/report.html") == b"hello"
    assert url == store.url("run-1/report.html") == f"file://{tmp_path}/store/run-1/report.html"


def test_put_replaces(store: DirectoryStore, tmp_path: Path) -> None:
    """A second file under a key takes the place of the first."""
    store.put("a", written(tmp_path, "first"))
    store.put("a", written(tmp_path, "second"))

    assert store.get("a") == b"second"
    assert store.list() == ["a"]


def test_list_by_prefix(store: DirectoryStore, tmp_path: Path) -> None:
    """Keys come sorted, and only those with the prefix."""
    for key in ("b/1", "a/2", "a/1", "ab"):
        store.put(key, written(tmp_path, key))

    assert store.list() == ["a/1", "a/2", "ab", "b/1"]
    assert store.list("a/") == ["a/1", "a/2"]
    assert store.list("c") == []


def test_unfinished_copies_are_not_listed(store: DirectoryStore, tmp_path: Path) -> None:
    """What a killed copy left is no stored file."""
    store.put("a/1", written(tmp_path, "x"))
    (tmp_path / "store" / "a" / ".2.partial").write_text("half")

    assert store.list() == ["a/1"]


def test_missing_key(store: DirectoryStore, tmp_path: Path) -> None:
    """A key that holds nothing is an error that names its neighbours."""
    store.put("a/1", written(tmp_path, "x"))

    with pytest.raises(UnknownName, match="unknown stored file 'a/2'; valid: a/1"):
        store.get("a/2")


@pytest.mark.parametrize("key", ["../outside", "/etc/passwd", "a/../../outside", "", "."])
def test_keys_stay_below_the_root(store: DirectoryStore, tmp_path: Path, key: str) -> None:
    """A key that leads out of the store is refused."""
    with pytest.raises(ValueError, match="not a key below"):
        store.put(key, written(tmp_path, "x"))
