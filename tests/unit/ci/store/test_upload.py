"""What of a run's folder is stored, whatever a tested program put there."""

import json
import os
from pathlib import Path

import pytest

from kvsync.ci.errors import StoreError
from kvsync.ci.run_folder import RunFolder
from kvsync.ci.store.directory import DirectoryStore
from kvsync.ci.store.upload import is_uploaded, survey, upload_run


def test_only_what_others_can_use_is_stored(tmp_path: Path) -> None:
    """Evidence is stored; keys to a cluster, the ledger, scratch files and what is half written are not."""
    for name in (
        "report.html",
        "report.json",
        "results/unit.json",
        "logs/local/tmp/gateway.log",
        "evidence/pod/kubeconfig",
        "kubeconfig",
        "ledger.jsonl",
        "manifest.json",
        "report.partial",
        "tmp/unit/test_x0/a.txt",
        "workspace/.git/config",
        "workspace/README.md",
        "temporary/image/constraints.txt",
        "hypothesis/examples/a",
        ".hidden",
        "logs/.cache/a",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")

    assert survey(tmp_path) == (
        ["report.html", "report.json", "logs/local/tmp/gateway.log", "results/unit.json"],
        [],
    )


def test_links_and_pipes_are_not_followed(tmp_path: Path) -> None:
    """A tested program cannot have the files of its user published, nor make an upload wait forever."""
    (tmp_path / "secret").write_text("hunter2")
    run = tmp_path / "run"
    run.mkdir()
    (run / "stolen.log").symlink_to(tmp_path / "secret")
    (run / "all").symlink_to(tmp_path)
    os.mkfifo(run / "pipe.log")

    assert survey(run) == ([], [])


def test_names_that_are_no_keys_are_listed_and_the_rest_is_stored(tmp_path: Path) -> None:
    """Bytes that are not text and control characters are refused one by one; the manifest says which."""
    folder = RunFolder(tmp_path / "run-1")
    folder.logs.mkdir(parents=True)
    folder.page.write_text("hello")
    (folder.logs / "a b#?%.log").write_text("hello")
    (folder.logs / "two\nlines.log").write_text("hello")
    Path(os.fsdecode(os.fsencode(folder.logs) + b"/\xff.log")).write_text("hello")

    store = DirectoryStore(tmp_path / "store")
    done = upload_run(folder, store, "proj")

    assert store.list() == [
        "proj/run-1/" + name for name in ("logs/a b#?%.log", "manifest.json", "report.html")
    ]
    assert done.files == 2
    assert list(done.refused) == ["logs/two\nlines.log", "logs/\\xff.log"]
    assert json.loads(store.get("proj/run-1/manifest.json"))["refused"] == list(done.refused)


def test_an_upload_that_failed_goes_on(tmp_path: Path) -> None:
    """While the store is broken there is no manifest; afterwards only what is missing is sent."""
    folder = RunFolder(tmp_path / "run-1")
    folder.logs.mkdir(parents=True)
    folder.page.write_text("hello")
    folder.report.write_text("{}")
    (folder.logs / "unit.log").write_text("hello")
    store = DirectoryStore(tmp_path / "store")
    obstacle = tmp_path / "store" / "proj" / "run-1" / "logs"
    obstacle.parent.mkdir(parents=True)
    obstacle.write_text("in the way")

    with pytest.raises(StoreError, match=r"cannot store .*/proj/run-1/logs/unit.log"):
        upload_run(folder, store, "proj")
    assert not is_uploaded(folder, store, "proj")
    assert "proj/run-1/manifest.json" not in store.list()

    obstacle.unlink()
    assert upload_run(folder, store, "proj").files == 1
    assert is_uploaded(folder, store, "proj")


def test_a_manifest_that_is_none_counts_as_missing(tmp_path: Path) -> None:
    """Nothing else that lies there is proof."""
    folder = RunFolder(tmp_path / "run-1")
    folder.path.mkdir()
    manifest = tmp_path / "store" / "proj" / "run-1" / "manifest.json"
    manifest.parent.mkdir(parents=True)
    manifest.write_text("{")

    assert not is_uploaded(folder, DirectoryStore(tmp_path / "store"), "proj")
