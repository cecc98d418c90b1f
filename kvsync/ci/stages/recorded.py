"""The lines of a stage's journal as its checks, without a value for each test meanwhile. Pure."""

from collections.abc import Iterable

from kvsync.testing.results.attempts import last_of
from kvsync.testing.results.history import Record
from kvsync.testing.results.outcome import Check, CheckKind, Checks


def checks_from(records: Iterable[Record], *, running: CheckKind, why: str, tail: str = "") -> Checks:
    """Turn the plugin's lines into checks, in the order of collection.

    A test that started and did not finish becomes `running` and carries the `tail` of pytest's output, one
    that never started is not run; both say `why`. Several endings of one test are attempts: the last decides,
    and a pass after a failure is flaky.
    """
    found = _Recorded(f"not run: {why}")
    started: set[str] = set()
    evidence: dict[str, dict[str, str]] = {}
    for record in records:
        match record:
            case {"event": "collected", "nodeids": list(nodeids)}:
                found.expect(nodeids)
            case {"event": "more", "of": "collected", "nodeids": list(nodeids)}:
                found.expect(nodeids, more=True)
            case {"event": "started", "nodeid": str(nodeid)}:
                started.add(nodeid)
            case {"event": "evidence", "nodeid": str(nodeid), "files": str(files)}:
                evidence[nodeid] = {"evidence": files}
            case {"event": "finished", "nodeid": str(nodeid)}:
                started.discard(nodeid)
                found.end(_check(record))
    for nodeid in started:
        found.cut(
            Check(
                name=nodeid,
                kind=running,
                detail=f"{why} while this test ran",
                log_tail=tail,
                properties=evidence.get(nodeid, {}),
            )
        )
    return found.checks()


class _Recorded:
    """The tests that were collected, each in its place, and how they ended.

    Nearly always the next one to end is the one that was collected after the last; only where it is not, a
    place is looked up.
    """

    def __init__(self, not_run: str) -> None:
        self._not_run = not_run
        self._checks = Checks()
        self._ended = bytearray()
        self._is_first, self._next = True, 0
        self._places: dict[str, int] | None = None
        self._again: dict[int, list[Check]] = {}
        self._others: dict[str, list[Check]] = {}

    def expect(self, names: Iterable[str], *, more: bool = False) -> None:
        """Take in tests that will run; of an attempt, or `more` of them."""
        if not more:
            self._is_first, self._next = not self._checks, 0
        for name in names:
            if self._is_first or self._place(name) is None:
                self._add(Check(name=name, kind="not-run", detail=self._not_run))

    def end(self, check: Check) -> None:
        """Take in how a test ended."""
        place = self._place(check.name)
        if place is None:
            self._others.setdefault(check.name, []).append(check)
        elif self._ended[place]:
            self._again.setdefault(place, [self._checks[place]]).append(check)
        else:
            self._checks.put(place, check)
            self._ended[place] = True

    def cut(self, check: Check) -> None:
        """Take in a test that did not end: whatever was known of it no longer counts."""
        if (place := self._place(check.name)) is not None:
            self._again.pop(place, None)
            self._others.pop(check.name, None)
            self._checks.put(place, check)
        elif check.name in self._others:
            self._others[check.name] = [check]

    def checks(self) -> Checks:
        """Return them, and then what ended and was not collected, such as a file that cannot be read."""
        for name, endings in self._others.items():
            if (place := self._place(name)) is None:
                self._add(last_of(endings))
            else:  # it was collected after it had ended
                later = self._again.get(place, [self._checks[place]] if self._ended[place] else [])
                self._again[place] = [*endings, *later]
        for place, endings in self._again.items():
            self._checks.put(place, last_of(endings))
        return self._checks

    def _add(self, check: Check) -> None:
        if self._places is not None:
            self._places[check.name] = len(self._checks)
        self._checks.append(check)
        self._ended.append(False)

    def _place(self, name: str) -> int | None:
        if not self._checks:
            return None
        if self._next < len(self._checks) and self._checks.name(self._next) == name:
            place: int | None = self._next
        else:
            if self._places is None:
                self._places = {self._checks.name(at): at for at in range(len(self._checks))}
            place = self._places.get(name)
        if place is not None:
            self._next = place + 1
        return place


def _check(ending: Record) -> Check:
    fields = {name: value for name, value in ending.items() if name not in ("event", "nodeid")}
    return Check.from_json({"attempts": [], **fields, "name": str(ending["nodeid"])})
