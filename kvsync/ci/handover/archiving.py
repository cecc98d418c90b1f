"""The results of a run in the archive, and what is new in them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from kvsync.ci.archive.archive import open_archive
from kvsync.ci.archive.comparison import RunComparison
from kvsync.ci.archive.trends import trends_of
from kvsync.ci.handover.handover import Handover, Log
from kvsync.ci.page.page import write_page
from kvsync.ci.revision import Revision, commit_time
from kvsync.ci.run.run import Run
from kvsync.errors import KVSyncError
from kvsync.testing.results.measurement import read_measurements


def archive(handover: Handover, log: Log) -> Handover:
    """Compare a run with those before it, keep it in the archive, and write the page that says what changed.

    An archive that does not answer is a warning: the page is written all the same, and the verdict stands.
    """
    run, report = handover.run, handover.report
    comparison, trends = RunComparison.impossible("the archive did not answer"), None
    try:
        with open_archive(run.settings, run.parameters.report_dir) as opened:
            comparison = opened.compare(report)
            opened.record(report, read_measurements(run.folder.path / "benchmark.json"))
            trends = trends_of(opened, report)
    except Exception as error:
        # Only here: the page is public, and the names of hosts are not.
        log.warning("this run is not in the archive: %s", error)
    write_page(report, run.folder.path, comparison=comparison, trends=trends)
    return replace(handover, comparison=comparison)


def known_tests(run: Run, stage: str, log: Log) -> frozenset[str] | None:
    """Return the tests of a stage that the reference branch has, for a run that tests a proposed change.

    None for any other run, before the stage ran there, and if the archive does not answer: the stage then
    runs as usual.
    """
    parameters = run.parameters
    if not (parameters.source and parameters.source.pull_request):
        return None
    try:
        with open_archive(run.settings, parameters.report_dir) as opened:
            scope, shard = opened.scope(parameters.model_dump(mode="json")), run.shard(stage)
            # A test may have been in another shard.
            stages = (*shard.stages, shard.whole) if shard else (stage,)
            return frozenset().union(*(opened.seen(scope, each) for each in stages)) or None
    except Exception as error:
        log.warning("new tests are not run more often: %s", error)
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharing:
    """What a shard needs to know: see StageContext."""

    durations_s: Mapping[str, float] = field(default_factory=dict)
    elsewhere: Mapping[str, frozenset[str]] = field(default_factory=dict)


def sharing(run: Run, stage: str, log: Log) -> Sharing:
    """Return what tests took lately, and which shards of other runs had which at this commit.

    Runs at one commit, on whatever machine, share its tests alike: they look at what ran before it was made.
    Nothing where a stage has all of its tests, and if the archive does not answer.
    """
    shard, parameters = run.shard(stage), run.parameters
    if shard is None:
        return Sharing()
    tested, source = run.folder.revision or Revision(), parameters.source
    commit = source.commit if source else "" if tested.dirty else tested.commit
    other_runs = [name for name in shard.others if commit and name not in parameters.stages]
    before = commit_time(parameters.checkout) if commit else None
    try:
        with open_archive(run.settings, parameters.report_dir) as opened:
            scope = opened.scope(parameters.model_dump(mode="json"))
            return Sharing(
                durations_s=opened.durations_s(scope, [*shard.stages, shard.whole], before),
                elsewhere={name: opened.ran_at(scope, commit, name) for name in other_runs},
            )
    except Exception as error:
        log.warning("tests are shared by their number, not by how long they took: %s", error)
        return Sharing()


def expected_s(run: Run, stage: str) -> float | None:
    """Return how many seconds a stage will take; None if the archive does not know."""
    parameters = run.parameters
    try:
        with open_archive(run.settings, parameters.report_dir) as opened:
            scope = opened.scope(parameters.model_dump(mode="json"))
            return opened.eta([stage], scope, [stage] if run.is_compared(stage) else []).get(stage)
    except KVSyncError:
        return None
