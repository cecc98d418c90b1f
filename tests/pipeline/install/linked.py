"""What a distribution requires, linked into another environment from the one that these tests run in.

A requirement that is not declared is missing there, as it would be after pip, which takes 13 s of CPU to
unpack 140 MB. Pip does it in the profile `full`.
"""

from collections.abc import Iterable
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement


def link_required(requirements: Iterable[str], site: Path) -> None:
    """Link what meets the requirements, and theirs in turn, into a folder `site-packages`."""
    wanted, known = _of(requirements, {""}), set[str]()
    while wanted:
        one = wanted.pop()
        if str(one) in known:
            continue
        known.add(str(one))
        found = distribution(one.name)
        assert one.specifier.contains(found.version, prereleases=True), f"{one}: here is {found.version}"
        _link(found, site)
        wanted += _of(found.requires or (), {"", *one.extras})


def _of(requirements: Iterable[str], extras: Iterable[str]) -> list[Requirement]:
    """Return those that count on this machine, for one of these extras."""
    every = [Requirement(each) for each in requirements]
    return [
        each
        for each in every
        if each.marker is None or any(each.marker.evaluate({"extra": extra}) for extra in extras)
    ]


def _link(found: Distribution, site: Path) -> None:
    for part in {file.parts[0] for file in found.files or ()} - {"..", "__pycache__"}:
        if not (site / part).exists():
            (site / part).symlink_to(Path(str(found.locate_file(part))))
