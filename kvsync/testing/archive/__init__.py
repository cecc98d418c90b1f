"""The archive of results."""

from kvsync.testing.archive.archive import Archive, open_archive
from kvsync.testing.archive.database import ArchiveError
from kvsync.testing.archive.records import PastRun, PastStage, Scope

__all__ = ["Archive", "ArchiveError", "PastRun", "PastStage", "Scope", "open_archive"]
