"""What the tests of JUnit files are called: briefly, and each by a name of its own. Pure."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self
from xml.etree.ElementTree import Element

from kvsync.ci.report.junit_document import Document, Suite

PARAMETERS = ("value_param", "type_param")
"""Where GoogleTest puts a test's parameters; other tools put them in its name."""


@dataclass(slots=True, eq=False)
class TestName:
    """A test's name: its `own`, the usual `short` one, and the `full` one."""

    __test__ = False

    own: str
    short: str
    full: str
    case: Element
    suite: Suite
    document: Document

    @classmethod
    def of(cls, case: Element, suite: Suite, document: Document, position: int) -> Self:
        """Name a case by what it and its suite say; for a pytest test whose file is known, by its node id."""
        own = case.get("name") or f"(test {position})"
        if parameters := [case.get(each, "") for each in PARAMETERS if case.get(each)]:
            own += f"[{', '.join(parameters)}]"
        owner, file = case.get("classname", "") or case.get("class", ""), case.get("file", "")
        short = full = f"{owner}::{own}" if owner else own
        module = file.removesuffix(".py").replace("/", ".")
        if file.endswith(".py") and f"{owner}.".startswith(f"{module}."):
            short = full = "::".join([file, *filter(None, owner.removeprefix(module).split(".")), own])
        elif owner == suite.name:
            short = own
        return cls(own, short, full, case, suite, document)

    @property
    def circumstances(self) -> tuple[str, ...]:
        """What else tells it from others, in the order in which that is said."""
        of_suite = [self.suite.header.get(each, "") for each in ("name", "package", "hostname")]
        of_case = [self.case.get(each, "") for each in ("class", "file", "feature")]
        return (*of_suite, *of_case, self.document.name)


def distinct(names: Sequence[TestName]) -> list[str]:
    """Return the names in words, no two alike: with as much of the circumstances as it takes, or numbered."""
    told = [name.short for name in names]
    count = Counter(told)
    if len(count) == len(told):
        return told
    alike: dict[str, list[int]] = defaultdict(list)
    for place, name in enumerate(told):
        if count[name] > 1:
            alike[name].append(place)
    for places in alike.values():
        for place, text in zip(places, _told_apart([names[place] for place in places]), strict=True):
            told[place] = text
    return _numbered(told)


def _told_apart(names: Sequence[TestName]) -> list[str]:
    """Name tests that share a short name; some may still be alike."""
    told, known = [""] * len(names), 1
    for circumstance in zip(*(name.circumstances for name in names), strict=True):
        more = [f"{before}{text} " for before, text in zip(told, circumstance, strict=True)]
        if len(set(more)) > known:
            told, known = more, len(set(more))
    short = known == len(names)
    return [before + (name.short if short else name.full) for before, name in zip(told, names, strict=True)]


def _numbered(names: Sequence[str]) -> list[str]:
    taken, last = set(names), dict.fromkeys(names, 1)
    seen: set[str] = set()
    told = []
    for name in names:
        text = name
        while text in seen or (text != name and text in taken):
            last[name] += 1
            text = f"{name} #{last[name]}"
        seen.add(text)
        told.append(text)
    return told
