"""Coverage in Cobertura's XML, as coverage.py, gcovr, Istanbul and .NET's tools write it. Pure.

Its document type, which most of these tools write, is left out unread; one that declares anything is refused,
because attacks with XML use entities.

By hand: pycobertura (PyPI) reads by lxml, needs the sources beside the file, and says nothing of branches.
"""

import re
from collections import defaultdict
from xml.etree.ElementTree import ParseError, XMLParser

from kvsync.ci.readers.bounds import Damaged
from kvsync.ci.readers.coverage.coverage import Coverage, FileCoverage
from kvsync.ci.readers.reading import ResultFile, of_coverage

_DOCTYPE = re.compile(r"<!DOCTYPE[^\[<>]{0,1000}>")
_CONDITIONS = re.compile(r"\(\s*(\d{1,4})\s*/\s*(\d{1,4})\s*\)")


class _Refused(ValueError):
    """It is not read."""


class _Target:
    """What the parser finds: the lines of each file."""

    def __init__(self) -> None:
        self.lines: dict[str, dict[int, bool]] = defaultdict(dict)
        self.branches: dict[str, dict[int, dict[str, bool]]] = defaultdict(dict)
        self.sources: list[str] = []
        self._file = ""
        self._source: list[str] | None = None
        self._is_begun = False

    def doctype(self, *_: str | None) -> None:
        """Refuse it; called by the parser, as all below."""
        raise _Refused("a document type that declares something is refused")

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        """Open an element."""
        if not self._is_begun and tag != "coverage":
            raise _Refused(f"not a Cobertura file: it begins with {tag[:80]}")
        self._is_begun = True
        match tag:
            case "class":
                self._file = attributes.get("filename", "").replace("\\", "/")
                self.lines.setdefault(self._file, {})
            case "line" if self._file:
                self._line(attributes)
            case "source":
                self._source = []

    def end(self, tag: str) -> None:
        """Close an element."""
        if tag == "class":
            self._file = ""
        elif tag == "source" and self._source is not None:
            self.sources.append("".join(self._source).strip().replace("\\", "/"))
            self._source = None

    def data(self, text: str) -> None:
        """Take text in."""
        if self._source is not None:
            self._source.append(text)

    def close(self) -> None:
        """End the document."""

    def _line(self, attributes: dict[str, str]) -> None:
        try:
            number, hits = int(attributes["number"]), int(attributes["hits"])
        except (KeyError, ValueError) as error:
            raise _Refused("a line has no number or no hits") from error
        lines = self.lines[self._file]
        lines[number] = hits > 0 or lines.get(number, False)
        if found := _CONDITIONS.search(attributes.get("condition-coverage", "")):
            taken, of = int(found[1]), int(found[2])
            self.branches[self._file][number] = {str(place): place <= taken for place in range(1, of + 1)}


def read_cobertura(text: str, root: str = "") -> ResultFile:
    """Return what the document says, as far as it could be read; raises Damaged if that is nothing.

    Files of its one source are named from the folder `root` on, if the source lies in there.
    """
    target, problem = _Target(), ""
    parser = XMLParser(target=target)  # noqa: S314 - it refuses document types, so there are no entities
    try:
        parser.feed(_DOCTYPE.sub("", text, count=1))
        parser.close()
    except (ParseError, _Refused) as error:
        problem = str(error)
    files = {
        path: FileCoverage(lines, target.branches.get(path, {}))
        for path, lines in target.lines.items()
        if path
    }
    if not files:
        raise Damaged(problem or "no file is in it")
    prefix = _within(target.sources, root)
    return of_coverage(Coverage(files).renamed(lambda path: f"{prefix}{path}")).doubted(problem)


def _within(sources: list[str], root: str) -> str:
    """Return what comes before the names of files: the way from `root` to the one folder of sources."""
    folder = f"{root.rstrip('/')}/"
    if len(sources) != 1 or not root or not sources[0].startswith(folder):
        return ""
    return f"{sources[0].removeprefix(folder).rstrip('/')}/"
