"""A file of JUnit XML as its suites and cases, whatever it contains: decoded, parsed as far as that goes.

- A document type is refused before any of it is looked at: JUnit has none, and attacks with XML use entities.
- What is odd and can be read all the same is a remark; what may be missing is a doubt.
"""

import codecs
import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Self
from xml.etree.ElementTree import Element, ParseError, TreeBuilder, XMLParser

from kvsync.ci.report.junit_case import Suite
from kvsync.ci.report.junit_endings import CUT
from kvsync.ci.report.junit_writer import ILLEGAL, OURS

MOST_BYTES = 64 * 2**20
"""How much of a file is read; the rest of a larger one counts as cut off."""

PIECE = 2**16
"""Bytes that are read at once, and characters that are parsed."""

OF_SUITES = ("failure", "error", "skipped")
"""What some tools put directly under a suite: how all of it ended, such as a class that did not load."""

DECLARATION = re.compile(rb"""^\s*<\?xml[^>]*encoding=["']([\w.-]+)["']""")
NO_FILES = "punycode"
"""An encoding for host names whose decoder takes minutes for less than a megabyte."""
PLAIN = frozenset({"utf-8", "ascii", "iso8859-1", "iso8859-15", "cp1252", "utf-16-le", "utf-16-be"})
"""The encodings that are decoded in pieces: whatever a file holds, they do not fail in its midst."""
WIDE = {
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
    b"<\x00": "utf-16-le",
    b"\x00<": "utf-16-be",
}
"""The encodings of two bytes a character, by how their files begin."""

REFERENCE = re.compile(r"&#(?:x0*([0-9a-fA-F]{1,6})|0*([0-9]{1,7}));")


class _Refused(ValueError):
    """The document cannot be read as JUnit."""


class Document:
    """The suites and cases of a document, in their order, as far as it could be read.

    `problem` is what ended it early, `remarks` is what was odd.
    """

    def __init__(self, name: str, remarks: Sequence[str] = ()) -> None:
        self.name = name
        self.suites: list[Suite] = []
        self.problem = ""
        self._remarks = remarks
        self._within: list[Suite] = []
        self._builder: TreeBuilder | None = None
        self._open: Element | None = None

    @classmethod
    def read(cls, path: Path, name: str) -> Self:
        """Read a file, known by this name. Raises OSError only."""
        with path.open("rb") as file:
            pieces = islice(iter(partial(file.read, PIECE), b""), MOST_BYTES // PIECE)
            texts, remarks = decode(pieces)
            document = cls(name, remarks)
            parser = XMLParser(target=document)  # noqa: S314 - it refuses document types, so there are no entities
            try:
                for text in _legal(texts):
                    parser.feed(text)
                parser.close()
            except (ParseError, _Refused) as exc:
                deque(pieces, maxlen=0)
                too_long = f"only its first {MOST_BYTES // 2**20} MiB were read"
                document.cut(too_long if file.read(1) else str(exc))
        return document

    @property
    def is_ours(self) -> bool:
        """Whether our own writer made it, in which elements of one name are always attempts."""
        return bool(self.suites) and self.suites[0].is_root and self.suites[0].name == OURS

    @property
    def doubt(self) -> str:
        """Why the document may be incomplete; empty if it is complete."""
        shortages = (suite.shortage for suite in self.suites)
        return "; ".join(filter(None, [self.problem, next(filter(None, shortages), "")]))

    @property
    def remarks(self) -> list[str]:
        """What is odd about the document and was read all the same."""
        counted = [
            f"its header counts {'assertions' if suite.counts_assertions else 'reruns'}, not tests"
            for suite in self.suites
            if suite.declared("tests") > suite.tests and not suite.shortage
        ]
        return [*self._remarks, *counted[:1]]

    def doctype(self, *_: str | None) -> None:
        """Refuse it; called by the parser, as all below."""
        raise _Refused("a document type is refused")

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        """Open an element."""
        tag = _local(tag)
        if self._builder is not None:
            self._builder.start(tag, attributes)
        elif tag in ("testsuites", "testsuite"):
            suite = Suite(attributes.get("name", ""), self.name, attributes, is_root=tag == "testsuites")
            self._within.append(suite)
            self.suites.append(suite)
        elif not self._within:
            raise _Refused(f"not a JUnit file: it begins with {tag[:80]}")
        elif tag == "testcase":
            self._builder = TreeBuilder()
            self._open = self._builder.start(tag, attributes)
        elif tag in OF_SUITES:
            self._builder = TreeBuilder()
            name = self._within[-1].name or f"(suite {len(self.suites)})"
            self._open = self._builder.start("testsuite", {"name": name})
            self._builder.start(tag, attributes)

    def end(self, tag: str) -> None:
        """Close an element."""
        tag = _local(tag)
        if self._builder is None:
            if tag in ("testsuites", "testsuite"):
                self._leave()
            return
        case = self._builder.end(tag)
        if self._open is not None and self._open.tag == "testsuite" and case in self._open:
            case = self._builder.end("testsuite")
        if case is self._open:
            self._within[-1].add(case)
            self._builder = self._open = None

    def data(self, text: str) -> None:
        """Take text in."""
        if self._builder is not None:
            self._builder.data(text)

    def close(self) -> None:
        """End the document."""

    def cut(self, problem: str) -> None:
        """End the document where it is damaged: an open case becomes an attempt without an ending."""
        self.problem = problem
        if self._open is not None:
            self._open.tag = CUT
            self._within[-1].add(self._open)
        while self._within:
            self._leave()

    def _leave(self) -> None:
        """End a suite: what it holds also counts for the enclosing one."""
        suite = self._within.pop()
        if self._within:
            self._within[-1].tests += suite.tests
            self._within[-1].bad += suite.bad
            self._within[-1].attempts += suite.attempts


def decode(pieces: Iterator[bytes]) -> tuple[Iterator[str], list[str]]:
    """Return the text of a document from its first element or declaration on, and what was odd about it."""
    remarks, head = [], next(pieces, b"")
    wide = next((encoding for begin, encoding in WIDE.items() if head.startswith(begin)), "")
    declared = DECLARATION.match(head.removeprefix(codecs.BOM_UTF8))
    encoding = wide or (declared[1].decode() if declared else "utf-8")
    if not _is_plain(encoding):
        head, pieces = b"".join([head, *pieces]), iter(())
    texts = _texts(head, pieces, encoding)
    first = next(texts, "").removeprefix("\ufeff")
    if declared and not first.lstrip().startswith("<?xml"):
        remarks.append(f"it declares {encoding} and is UTF-8")
        texts = _texts(head, pieces, "utf-8")
        first = next(texts, "").removeprefix("\ufeff")
    if (bare := first.lstrip()).startswith("<?xml") and bare != first:
        remarks.append("its declaration does not come first")
    return chain([bare], texts), remarks


def _is_plain(encoding: str) -> bool:
    try:
        return codecs.lookup(encoding).name in PLAIN
    except LookupError:
        return False


def _texts(head: bytes, pieces: Iterator[bytes], encoding: str) -> Iterator[str]:
    """Yield the text piece by piece; of an encoding that may turn out to be another one, at once."""
    if _is_plain(encoding):
        return codecs.iterdecode(chain([head], pieces), encoding, errors="replace")
    try:
        known = codecs.lookup(encoding).name != NO_FILES
        return iter([head.decode(encoding if known else "utf-8", errors="replace")])
    except (LookupError, UnicodeError):
        return iter([head.decode(errors="replace")])


def _legal(texts: Iterable[str]) -> Iterator[str]:
    """Leave out characters that XML cannot hold, also if written as character references."""

    def reference(found: re.Match[str]) -> str:
        code = int(found[1], 16) if found[1] else int(found[2])
        return found[0] if code <= 0x10FFFF and not ILLEGAL.match(chr(code)) else ""

    left = ""
    for text in texts:
        whole = left + ILLEGAL.sub("", text)
        end = whole.rfind("&")
        if end < 0 or ";" in whole[end:] or len(whole) - end > PIECE:
            end = len(whole)
        yield REFERENCE.sub(reference, whole[:end])
        left = whole[end:]  # a reference may go on in the next piece
    yield left


def _local(tag: str) -> str:
    """Return a tag without its namespace."""
    return tag.rpartition("}")[2]
