"""What every store does: a directory, and S3 of moto, of real servers and of what the environment names."""

import json
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from threading import Thread
from urllib.parse import unquote, urlsplit

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kvsync.ci.run_folder import RunFolder
from kvsync.ci.store.store import Store, Stored, checked
from kvsync.ci.store.upload import is_uploaded, upload_run
from kvsync.errors import UnknownName

HELLO = Stored(5, "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824")

HOSTILE = [
    "a b.log",
    "ünï 模型 🎉.log",
    "100%41?x=1&y#z.html",
    "<script>alert(1)<&amp;",
    "semi;colon $(reboot)`id`'\"",
    "+plus=and+more.json",
    "trailing. ",
    "...",
    "-rf",
    "x" * 255,
]


def written(tmp_path: Path, text: str) -> Path:
    """Return a file with this content."""
    path = tmp_path / "source.txt"
    path.write_text(text)
    return path


def test_what_was_put_is_got(store: Store, tmp_path: Path) -> None:
    """A stored file has the content of its source, and is known by size and hash."""
    assert store.put("run-1/report.html", written(tmp_path, "hello")) == HELLO

    assert store.get("run-1/report.html") == b"hello"
    assert store.stat("run-1/report.html") == HELLO


def test_put_replaces(store: Store, tmp_path: Path) -> None:
    """A second file under a key takes the place of the first."""
    store.put("a", written(tmp_path, "first"))
    store.put("a", written(tmp_path, "hello"))

    assert (store.get("a"), store.stat("a"), store.list()) == (b"hello", HELLO, ["a"])


def test_list_by_prefix(store: Store, tmp_path: Path) -> None:
    """Keys come sorted, and only those with the prefix."""
    for key in ("b/1", "a/2", "a/1", "ab"):
        store.put(key, written(tmp_path, key))

    assert store.list() == ["a/1", "a/2", "ab", "b/1"]
    assert store.list("a/") == ["a/1", "a/2"]
    assert store.list("a") == ["a/1", "a/2", "ab"]
    assert store.list("c/") == []


def test_what_is_not_there(store: Store, tmp_path: Path) -> None:
    """A key that holds nothing is an error that names its neighbours; it need not be fetched to know."""
    store.put("a/1", written(tmp_path, "x"))

    with pytest.raises(UnknownName, match=r"unknown stored file 'a/2'; valid: a/1$"):
        store.get("a/2")
    assert store.stat("a/2") is None
    assert store.stat("a") is None


def test_delete(store: Store, tmp_path: Path) -> None:
    """Only what was named is gone; deleting it again is no error."""
    for key in ("a/b/1", "a/b/2", "c/1"):
        store.put(key, written(tmp_path, key))

    store.delete(["a/b/1", "c/1"])
    store.delete(["a/b/1", "never"])

    assert store.list() == ["a/b/2"]


def test_a_large_file_comes_in_parts(store: Store, tmp_path: Path) -> None:
    """A file of several parts is one file, with the hash of its content."""
    source = tmp_path / "large.jsonl"
    source.write_bytes(bytes(range(256)) * 45_000)

    stored = store.put("large.jsonl", source)

    assert stored.size == 11_520_000
    assert store.stat("large.jsonl") == stored
    assert sha256(store.get("large.jsonl")).hexdigest() == stored.sha256
    assert store.list() == ["large.jsonl"]


def test_a_file_that_still_grows_is_stored_as_hashed(store: Store, tmp_path: Path) -> None:
    """A log that is written to meanwhile is stored with the hash of what is stored."""
    stopped = False
    source = written(tmp_path, "begin")

    def grow() -> None:
        while not stopped:
            with source.open("a") as file:
                file.write("more" * 1000)

    writer = Thread(target=grow)
    writer.start()
    try:
        stored = store.put("pipeline.log", source)
    finally:
        stopped = True
        writer.join()

    content = store.get("pipeline.log")
    assert Stored(len(content), sha256(content).hexdigest()) == stored


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_hostile_names_survive(store: Store, tmp_path: Path, name: str) -> None:
    """Whatever a file system allows in a name comes back from the store as it was."""
    key = f"kvsync/run-1/logs/{name}"
    store.put(key, written(tmp_path, "hello"))

    assert store.list("kvsync/run-1/") == [key]
    assert (store.get(key), store.stat(key)) == (b"hello", HELLO)
    store.delete([key])
    assert store.list() == []


@pytest.mark.parametrize(
    "key",
    [
        "../outside",
        "/etc/passwd",
        "a/../../outside",
        "a//b",
        "a/./b",
        "a/",
        "",
        ".",
        "a\0b",
        "a\nb",
        "a\\b",
        "\udcff",
    ],
)
def test_what_is_no_path_below_the_root_is_refused(store: Store, tmp_path: Path, key: str) -> None:
    """A key that leads elsewhere, or that cannot be written, is refused by every method."""
    with pytest.raises(ValueError, match="not a key"):
        store.put(key, written(tmp_path, "x"))
    for ask in (store.get, store.stat, store.url):
        with pytest.raises(ValueError, match="not a key"):
            ask(key)
    with pytest.raises(ValueError, match="not a key"):
        store.delete([key])


@settings(
    max_examples=25,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.text(alphabet=st.characters(codec="utf-8"), min_size=1, max_size=60))
def test_any_key_comes_back_or_is_refused(store: Store, tmp_path: Path, key: str) -> None:
    """No text at all is stored under another key than its own."""
    try:
        checked(key)
    except ValueError:
        return
    store.put(key, written(tmp_path, "hello"))
    assert (store.list(), store.get(key)) == ([key], b"hello")
    store.delete([key])


@pytest.mark.parametrize("name", HOSTILE[:6], ids=ascii)
def test_a_link_leads_to_the_file(store: Store, tmp_path: Path, name: str) -> None:
    """The address, used as it is, gives the file."""
    store.put(name, written(tmp_path, "hello"))
    url = store.url(name)

    path = urlsplit(url).path
    if url.startswith("file:"):
        found = Path(unquote(path)).read_bytes()
    else:
        found = httpx.get(url, verify=False).content  # noqa: S501 - of a server of this machine
    assert found == b"hello"


def run_folder(tmp_path: Path) -> RunFolder:
    """Return a run's folder with a report and a log."""
    folder = RunFolder(tmp_path / "reports" / "20261120-120000-ab12")
    folder.logs.mkdir(parents=True)
    folder.report.write_text("{}")
    folder.page.write_text("<p>hello")
    (folder.logs / "unit.log").write_text("hello")
    return folder


def test_a_run_is_stored_with_a_manifest_that_proves_it(store: Store, tmp_path: Path) -> None:
    """Every file that the manifest names is there, with its size, hash and type."""
    done = upload_run(run_folder(tmp_path), store, "proj")

    base = "proj/20261120-120000-ab12/"
    assert (done.files, done.bytes, done.url.partition("?")[0]) == (3, 15, done.address)
    assert store.list() == [
        base + name for name in ("logs/unit.log", "manifest.json", "report.html", "report.json")
    ]
    manifest = json.loads(store.get(f"{base}manifest.json"))
    assert manifest["files"]["logs/unit.log"] == {
        "size": 5,
        "sha256": HELLO.sha256,
        "type": "text/plain; charset=utf-8",
    }
    for name, each in manifest["files"].items():
        assert store.stat(base + name) == Stored(each["size"], each["sha256"])


def test_only_what_differs_is_sent_again(store: Store, tmp_path: Path) -> None:
    """A second upload sends nothing; after a rerun it sends what changed, what is new and what was lost."""
    folder = run_folder(tmp_path)
    assert not is_uploaded(folder, store, "proj")
    upload_run(folder, store, "proj")
    assert is_uploaded(folder, store, "proj")
    assert upload_run(folder, store, "proj").files == 0

    folder.report.write_text("[]")
    (folder.logs / "e2e.log").write_text("new")
    store.delete(["proj/20261120-120000-ab12/logs/unit.log"])
    assert not is_uploaded(folder, store, "proj")

    assert upload_run(folder, store, "proj").files == 3
    assert is_uploaded(folder, store, "proj")
    assert store.get("proj/20261120-120000-ab12/report.json") == b"[]"


def test_tidying_leaves_what_is_whole_and_what_is_young(store: Store, tmp_path: Path) -> None:
    """Files stay; nothing that began after the given time is touched."""
    store.put("proj/run/a", written(tmp_path, "hello"))

    store.tidy("proj/run/", before=datetime.now(UTC) - timedelta(days=1))
    store.tidy("proj/run/")

    assert store.list() == ["proj/run/a"]
