"""The part of the tests that a shard has: how they are shared in a run, and whether every test is in one."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from kvsync.ci.project.shards import Shard
from kvsync.ci.run_folder import RunFolder
from kvsync.ci.stages.stage import StageContext
from kvsync.testing.results.history import read_lines
from kvsync.testing.results.outcome import StageResult
from kvsync.testing.results.shards import file_of, file_times, in_no_shard, shared
from kvsync.testing.results.texts import shortened
from kvsync.testing.results.whole import write_whole

COLLECTED = "kvsync-collected: "

COLLECT = f"""import json, sys, pytest
class Told:
    tests = []
    def pytest_collection_finish(self, session):
        self.tests = [item.nodeid for item in session.items]
told = Told()
code = pytest.main(sys.argv[1:], plugins=[told])
print({COLLECTED!r} + json.dumps(told.tests), flush=True)
raise SystemExit(code)
"""
"""Asks an interpreter without our plugin which tests there are."""


def durations_file(context: StageContext, shard: Shard) -> Path:
    """Return the file with what tests took: the same for all shards of a run, and for its repetitions."""
    path = context.run_dir / "history" / f"{shard.whole}-durations.json"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(dict(context.durations_s), indent=1))
    return path


def files_of(tests: Iterable[str], context: StageContext, shard: Shard) -> list[str]:
    """Return the files that a shard has, where the plugin cannot choose its tests."""
    durations_s = json.loads(durations_file(context, shard).read_text(encoding="utf-8"))
    return sorted(shared(file_times(tests, durations_s), len(shard.stages))[shard.number - 1])


def told_tests(log: Path) -> list[str] | None:
    """Return the tests that COLLECT printed; None if it did not come to that."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
    said = [line.removeprefix(COLLECTED) for line in lines if line.startswith(COLLECTED)]
    return json.loads(said[-1]) if said else None


def recorded_tests(journal: Path) -> list[str]:
    """Return all tests of which the plugin chose those of a shard; none if it did not come to that."""
    every: list[str] = []
    for record in read_lines(journal):
        match record:
            case {"event": "sharded", "nodeids": list(nodeids)}:
                every = nodeids
            case {"event": "more", "of": "sharded", "nodeids": list(nodeids)}:
                every += nodeids
    return every


def verified(
    result: StageResult, every: Sequence[str], context: StageContext, shard: Shard, *, by_file: bool = False
) -> StageResult:
    """Say which part of all tests it is, and doubt it where one of them is in no shard.

    Known are the shards that ran before, in this run or another at this commit: the last one sees them all.
    """
    if not every:
        return result
    ours = _tests(result)
    part = f"shard {shard.number} of {len(shard.stages)}: {len(ours)} of {len(every)} tests"
    result = replace(result, remarks=(part, *result.remarks))
    if not ours:
        files = len({file_of(test) for test in every})
        return result.doubted(f"no test is left for {shard}: {files} files; lower `shards` of {shard.whole}")
    others = [_tests_of(name, context) for name in shard.others]
    if not all(others):
        return result
    shards = [ours, *others]
    if by_file:
        every, shards = list(map(file_of, every)), [frozenset(map(file_of, each)) for each in shards]
    if lost := in_no_shard(every, shards):
        return result.doubted(
            f"{len(lost)} of {len(every)} are in none of {', '.join(shard.stages)}, such as "
            f"{shortened(lost[0])}: the shards ran other files; run all of them in one run, or again"
        )
    return result


def _tests_of(stage: str, context: StageContext) -> frozenset[str]:
    """Return the tests of another shard; none where it did not run, or not to where they are known."""
    result = RunFolder(context.run_dir).result(stage)
    names = frozenset(_tests(result)) if result else context.elsewhere.get(stage, frozenset())
    return frozenset(name for name in names if "::" in name)


def _tests(result: StageResult) -> frozenset[str]:
    return frozenset(check.name for check in result.checks if "::" in check.name)
