"""Evidence of a cluster: each part is read for itself, the time for all is bounded, and nothing is raised."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from threading import Event

from kvsync.testing.clusters.cluster import PodHandle
from kvsync.testing.clusters.evidence import NOT_READ, Group, Part, collect, new_folder
from kvsync.testing.clusters.local.cluster import LocalCluster
from kvsync.testing.errors import ClusterError


class Odd(LocalCluster):
    """A cluster without processes whose parts are what a test gives it."""

    def __init__(self, **groups: Group) -> None:
        self._groups = groups

    def gateways(self) -> list[str]:
        """Say that there is none."""
        raise ClusterError("no gateway runs")

    def pods(self) -> list[PodHandle]:
        """Return none."""
        return []

    def logs(self, name: str) -> str:
        """Return a log."""
        return f"log of {name}"

    def evidence(self) -> Mapping[str, Group]:
        """See Witness."""
        return self._groups


def read(folder: Path) -> dict[str, str]:
    """Return the contents of all files."""
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_no_part_keeps_another_away(tmp_path: Path) -> None:
    """What cannot be had says why in its own file: a part, the rest of a group, or a gateway."""

    def breaks() -> str:
        raise ValueError("nonsense")

    def half() -> Iterator[tuple[str, Part]]:
        yield "a.txt", breaks
        yield "b.txt", lambda: "b"
        raise ClusterError("no pods")

    collect(Odd(half=half(), whole=[("c.txt", lambda: "c")]), tmp_path)

    assert read(tmp_path) == {
        "a.txt": "(could not be read: ValueError: nonsense)",
        "b.txt": "b",
        "half.txt": "(could not be read: ClusterError: no pods)",
        "c.txt": "c",
        "gateway.log": "log of gateway",
        "gateways.txt": "(could not be read: ClusterError: no gateway runs)",
    }


def test_what_hangs_is_not_waited_for(tmp_path: Path) -> None:
    """After its time the rest is left unread, and a part that hangs until then says so."""
    freed = Event()

    def hangs() -> str:
        freed.wait()
        return "late"

    try:
        collect(Odd(hangs=[("a.txt", hangs), ("b.txt", lambda: "b")]), tmp_path, within_s=0.3)
        found = read(tmp_path)
    finally:
        freed.set()

    assert (found["a.txt"], found["gateway.log"], "b.txt" in found) == (NOT_READ, "log of gateway", False)


def test_evidence_of_one_name_is_kept_apart(tmp_path: Path) -> None:
    """Another attempt at a test does not overwrite what there was of the first."""
    assert [new_folder(tmp_path / "evidence" / "a").name for _ in range(3)] == ["a", "a-2", "a-3"]
