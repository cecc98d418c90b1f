"""A stage's journal is read in little memory, and all the same as if everything were held."""

from collections.abc import Iterable

from hypothesis import example, given
from hypothesis import strategies as st

from kvsync.ci.stages.recorded import checks_from
from kvsync.testing.results.attempts import last_of
from kvsync.testing.results.history import Record
from kvsync.testing.results.outcome import Check, CheckKind

NAMES = st.sampled_from("abcde")
LISTS = st.lists(NAMES, unique=True)
KINDS: st.SearchStrategy[CheckKind] = st.sampled_from(["passed", "failed", "skipped", "inconclusive"])

LINES = st.one_of(
    st.builds(lambda names: {"event": "collected", "nodeids": names}, LISTS),
    st.builds(lambda name: {"event": "started", "nodeid": name}, NAMES),
    st.builds(lambda name: {"event": "evidence", "nodeid": name, "files": "f"}, NAMES),
    st.builds(
        lambda name, kind: {"event": "finished", "nodeid": name, "kind": kind, "duration_s": 1.0},
        NAMES,
        KINDS,
    ),
)


def held(records: Iterable[Record]) -> list[Check]:
    """Return the checks of a journal, of which everything is held."""
    expected: dict[str, None] = {}
    endings: dict[str, list[Check]] = {}
    started: set[str] = set()
    evidence: dict[str, dict[str, str]] = {}
    for record in records:
        match record:
            case {"event": "collected", "nodeids": list(nodeids)}:
                expected |= dict.fromkeys(nodeids)
            case {"event": "started", "nodeid": str(nodeid)}:
                started.add(nodeid)
            case {"event": "evidence", "nodeid": str(nodeid)}:
                evidence[nodeid] = {"evidence": "f"}
            case {"event": "finished", "nodeid": str(nodeid), "kind": kind}:
                started.discard(nodeid)
                check = Check(name=nodeid, kind=kind, duration_s=1.0)  # type: ignore[arg-type]  # one of KINDS
                endings.setdefault(nodeid, []).append(check)
    return [
        Check(name=each, kind="timeout", detail="w while this test ran", properties=evidence.get(each, {}))
        if each in started
        else last_of(endings[each])
        if each in endings
        else Check(name=each, kind="not-run", detail="not run: w")
        for each in expected | dict.fromkeys(endings)
    ]


def in_pieces(records: Iterable[Record], most: int) -> Iterable[Record]:
    """Yield the same lines, with so many names in one at most."""
    for record in records:
        match record:
            case {"event": "collected", "nodeids": list(names)}:
                yield {"event": "collected", "nodeids": names[:most]}
                for at in range(most, len(names), most):
                    yield {"event": "more", "of": "collected", "nodeids": names[at : at + most]}
            case _:
                yield record


@given(st.lists(LINES, max_size=12), st.integers(1, 3))
@example(
    [
        {"event": "finished", "nodeid": "a", "kind": "failed", "duration_s": 1.0},
        {"event": "collected", "nodeids": ["b", "a"]},
    ],
    1,
)
def test_a_journal_says_the_same_however_it_is_read(lines: list[Record], most: int) -> None:
    """In whatever order its tests end, are tried again or are cut short."""
    read = checks_from(in_pieces(lines, most), running="timeout", why="w")

    assert list(read) == held(lines)
