"""The archive of results."""

from kvsync.ci.archive.archive import Archive, existing_archive, open_archive
from kvsync.ci.archive.database import ArchiveError
from kvsync.ci.archive.records import PastRun, PastStage, RunScope

__all__ = ["Archive", "ArchiveError", "PastRun", "PastStage", "RunScope", "existing_archive", "open_archive"]
