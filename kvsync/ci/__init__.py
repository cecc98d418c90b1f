"""The pipeline's machinery: what runs, keeps and reports, and knows no orchestrator.

A name is imported when it is first asked for, since databases, stores and charts take long to import.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kvsync.ci.archive.archive import Archive, open_archive
    from kvsync.ci.archive.comparison import RunComparison
    from kvsync.ci.doctor.doctor import examine
    from kvsync.ci.doctor.findings import Finding
    from kvsync.ci.handover.handover import Handover, hand_over
    from kvsync.ci.handover.roads import ROADS
    from kvsync.ci.handover.settlement import settle
    from kvsync.ci.page.page import write_page
    from kvsync.ci.project.model import Project
    from kvsync.ci.project.reading import read_project
    from kvsync.ci.report.report import Report
    from kvsync.ci.run.judgement import judge
    from kvsync.ci.run.parameters import CommitSource, Parameters
    from kvsync.ci.run.recheck import recheck
    from kvsync.ci.run.run import Installation, Run
    from kvsync.ci.run_folder import RunFolder, find_run
    from kvsync.ci.settings import Settings, load_settings
    from kvsync.ci.stages.pytest_stage import PytestStage
    from kvsync.ci.stages.stage import Stage, StageContext, run_safely
    from kvsync.ci.store.opening import open_store
    from kvsync.ci.store.store import Store
    from kvsync.ci.store.upload import upload_run

__all__ = [
    "ROADS",
    "Archive",
    "CommitSource",
    "Finding",
    "Handover",
    "Installation",
    "Parameters",
    "Project",
    "PytestStage",
    "Report",
    "Run",
    "RunComparison",
    "RunFolder",
    "Settings",
    "Stage",
    "StageContext",
    "Store",
    "examine",
    "find_run",
    "hand_over",
    "judge",
    "load_settings",
    "open_archive",
    "open_store",
    "read_project",
    "recheck",
    "run_safely",
    "settle",
    "upload_run",
    "write_page",
]

_MODULES = {
    "archive.archive": ("Archive", "open_archive"),
    "archive.comparison": ("RunComparison",),
    "doctor.doctor": ("examine",),
    "doctor.findings": ("Finding",),
    "handover.handover": ("Handover", "hand_over"),
    "handover.roads": ("ROADS",),
    "handover.settlement": ("settle",),
    "page.page": ("write_page",),
    "project.model": ("Project",),
    "project.reading": ("read_project",),
    "report.report": ("Report",),
    "run.judgement": ("judge",),
    "run.parameters": ("CommitSource", "Parameters"),
    "run.recheck": ("recheck",),
    "run.run": ("Installation", "Run"),
    "run_folder": ("RunFolder", "find_run"),
    "settings": ("Settings", "load_settings"),
    "stages.pytest_stage": ("PytestStage",),
    "stages.stage": ("Stage", "StageContext", "run_safely"),
    "store.opening": ("open_store",),
    "store.store": ("Store",),
    "store.upload": ("upload_run",),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
