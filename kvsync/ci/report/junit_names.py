"""What the tests of JUnit files are called: briefly, and each by a name of its own. Pure."""

from collections import Counter, defaultdict
from collections.abc import Sequence

from kvsync.ci.report.junit_case import Case


def distinct(cases: Sequence[Case]) -> list[str]:
    """Return names for cases, no two alike: with as much of the circumstances as it takes, or numbered."""
    told = [case.ending.name for case in cases]
    count = Counter(told)
    if len(count) == len(told):
        return told
    alike: dict[str, list[int]] = defaultdict(list)
    for place, name in enumerate(told):
        if count[name] > 1:
            alike[name].append(place)
    for places in alike.values():
        for place, text in zip(places, _told_apart([cases[place] for place in places]), strict=True):
            told[place] = text
    return _numbered(told)


def _told_apart(cases: Sequence[Case]) -> list[str]:
    """Name tests that share a short name; some may still be alike."""
    told, known = [""] * len(cases), 1
    for circumstance in zip(*(case.circumstances for case in cases), strict=True):
        more = [f"{before}{text} " for before, text in zip(told, circumstance, strict=True)]
        if len(set(more)) > known:
            told, known = more, len(set(more))
    names = [case.ending.name if known == len(cases) else case.full_name for case in cases]
    return [before + name for before, name in zip(told, names, strict=True)]


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
