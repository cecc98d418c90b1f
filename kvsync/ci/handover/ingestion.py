"""Results of another CI as a run like any other: judged, archived, shown and reported by the same means.

Its folder keeps the files that it was read from. The gate is what the repository says: its quarantine and its
accepted findings, and of a proposed change only the parts that do not excuse itself.
"""

import logging
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from kvsync.ci.handover.handover import Handover, hand_over
from kvsync.ci.handover.roads import ROADS
from kvsync.ci.page.coverage_page import write_coverage_page
from kvsync.ci.project.coverage import CoverageGate
from kvsync.ci.readers.bounds import MOST_BYTES
from kvsync.ci.readers.coverage.assessment import assessed
from kvsync.ci.readers.files import Found
from kvsync.ci.report.report import Report
from kvsync.ci.revision import Revision, tracked_files
from kvsync.ci.run.accepted import ACCEPTED
from kvsync.ci.run.judgement import judge
from kvsync.ci.run.kept import keep_file, keep_owners
from kvsync.ci.run.parameters import Parameters
from kvsync.ci.run.quarantine import NAME as QUARANTINE
from kvsync.ci.run.quarantine import PROPOSED, keep_quarantine
from kvsync.ci.run.run import Run
from kvsync.testing.results.measurement import write_measurements

_ODD = re.compile(r"[^A-Za-z0-9._-]+")


def ingest(run: Run, found: Found, files: Sequence[Path], code: Revision) -> Report:
    """Keep what files say as a run, and hand its report over; `code` was tested, if the run names none.

    Raises OSError when its folder cannot be written.
    """
    folder, parameters = run.folder, run.parameters
    folder.ingested.mkdir(parents=True)
    folder.ledger.touch()  # which says that there is a run
    for number, file in enumerate(files, start=1):
        if file.stat().st_size <= MOST_BYTES:
            shutil.copyfile(file, folder.ingested / f"{number}-{_ODD.sub('-', file.name)[-120:]}")
    _keep_gates(parameters, run.settings.archive.quarantine)
    if not parameters.source:
        folder.keep_revision(code)
    if found.measurements:
        write_measurements(folder.path / "benchmark.json", found.measurements, {})
    if found.coverage:
        known = tracked_files(parameters.repository)
        assessment = assessed(found.coverage, CoverageGate(), files=known)
        write_coverage_page(assessment, folder.path / "coverage.html", parameters.run)
    folder.save(found.result)
    parameters.keep_in(folder)
    report = judge(run)
    hand_over(Handover(run=run, report=report), ROADS["full"], logging.getLogger(__name__))
    return report


def _keep_gates(parameters: Parameters, quarantine: Path) -> None:
    """Keep what excuses failures; of a change that asks to be merged, its quarantine only as a proposal."""
    repository, run_dir, source = parameters.repository, parameters.run_dir, parameters.source
    gates_itself = source is None or source.gates_itself
    keep_quarantine(repository, quarantine, run_dir, QUARANTINE if gates_itself else PROPOSED)
    if gates_itself:
        keep_file(repository, Path(ACCEPTED), run_dir, ACCEPTED)
    keep_owners(repository, run_dir)
