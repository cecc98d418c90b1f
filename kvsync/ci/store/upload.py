"""A run's folder in a store: what of it is worth keeping, and a manifest that proves it complete.

- `manifest.json` is written when everything that it names is stored, and removed before any of it changes:
  while it is there, every file in it is there with that hash.
- What is stored already with the same length and hash is not sent again, so an upload that was interrupted
  goes on where it stopped.
- A run executes other people's code. Links are not followed; names that cannot be keys are only listed.
"""

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

from kvsync.ci.errors import StoreError
from kvsync.ci.run_folder import RunFolder
from kvsync.ci.store.store import Store, Stored, checked, content_type, digest
from kvsync.errors import UnknownName

MANIFEST = "manifest.json"

LOCAL_ONLY = frozenset(
    {
        "tmp",
        "workspace",
        "temporary",
        "hypothesis",
        "kubeconfig",
        "ledger.jsonl",
        "told",
        "notified",
        MANIFEST,
    }
)
"""What is of use only on the machine of the run; a kubeconfig holds keys."""

PARALLEL = 8
"""Files on their way at a time; each holds at most one part in memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Uploaded:
    """What an upload did: how many files and bytes it had to send, and which names it refused.

    `url` is the link to the report, which may be signed and then is a secret. `address` is for logs.
    """

    url: str = field(repr=False)
    files: int
    bytes: int
    refused: tuple[str, ...] = ()

    @property
    def public_url(self) -> str:
        """The link, if everyone may see it; "" if having it is enough to read the report."""
        return "" if "?" in self.url or not self.url.startswith("http") else self.url

    @property
    def address(self) -> str:
        """The link without a signature."""
        return self.url.partition("?")[0]


def upload_run(folder: RunFolder, store: Store, project: str) -> Uploaded:
    """Bring what is stored of a run up to date with its folder. Raises StoreError; a later call goes on."""
    base = f"{project}/{folder.path.name}/"
    names, refused = survey(folder.path, base)
    store.tidy(base)
    there = set(store.list(base))
    with ThreadPoolExecutor(PARALLEL) as pool:
        here = pool.map(lambda name: _digest(folder.path / name), names)
        known = pool.map(lambda name: store.stat(base + name) if base + name in there else None, names)
        files = dict(zip(names, known, strict=True))
        changed = [name for name, found in zip(names, here, strict=True) if found != files[name]]
        if changed:
            store.delete([base + MANIFEST])
        sent = pool.map(lambda name: store.put(base + name, folder.path / name), changed)
        files |= dict(zip(changed, sent, strict=True))
    stored = {name: each for name, each in files.items() if each}
    _put_manifest(store, project, folder.path.name, stored, refused)
    return Uploaded(
        url=store.url(base + folder.page.name),
        files=len(changed),
        bytes=sum(stored[name].size for name in changed),
        refused=tuple(refused),
    )


def is_uploaded(folder: RunFolder, store: Store, project: str) -> bool:
    """Say whether a run is stored whole, with the report that its folder has now. Raises StoreError."""
    try:
        manifest = json.loads(store.get(f"{project}/{folder.path.name}/{MANIFEST}"))
    except (UnknownName, ValueError):
        return False
    report = folder.report
    return (
        not report.exists() or manifest["files"].get(report.name, {}).get("sha256") == _digest(report).sha256
    )


def survey(root: Path, base: str = "") -> tuple[list[str], list[str]]:
    """Find the files of a run's folder to store, as paths in it, and what cannot be: no key, or locked."""
    names: list[str] = []
    refused: list[str] = []
    for folder, folders, files in os.walk(
        root, onerror=lambda exc: refused.append(_shown(exc.filename, root))
    ):
        at = Path(folder).relative_to(root)
        folders[:] = sorted(name for name in folders if not stays_here(at / name))
        for path in (root / at / name for name in sorted(files) if not stays_here(at / name)):
            if path.is_symlink() or not path.is_file():
                continue
            name = path.relative_to(root).as_posix()
            if _is_key(base + name):
                names.append(name)
            else:
                refused.append(_shown(path, root))
    return names, refused


def stays_here(path: Path) -> bool:
    """Say whether a path in the folder of a run is of use only on its machine, or not whole yet."""
    is_unfinished = path.name.startswith(".") or path.suffix == ".partial"
    return is_unfinished or str(path) in LOCAL_ONLY or path.name == "kubeconfig"


def _is_key(key: str) -> bool:
    try:
        checked(key)
    except ValueError:
        return False
    return True


def _shown(path: Path | str, root: Path) -> str:
    """Return a path in the folder as text that can be written, whatever bytes its name has."""
    return os.fsencode(os.path.relpath(path, root)).decode(errors="backslashreplace")


def _digest(path: Path) -> Stored:
    try:
        return digest(path)
    except OSError as exc:
        raise StoreError(f"read {path}", exc.strerror or str(exc), "correct its rights") from exc


def _put_manifest(
    store: Store, project: str, run: str, files: Mapping[str, Stored], refused: Sequence[str]
) -> None:
    manifest = {
        "project": project,
        "run": run,
        "files": {name: asdict(each) | {"type": content_type(name)} for name, each in sorted(files.items())},
        "refused": refused,
    }
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(manifest, file, indent=1)
        file.flush()
        store.put(f"{project}/{run}/{MANIFEST}", Path(file.name))
