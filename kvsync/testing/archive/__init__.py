"""The archive of results."""

from kvsync.testing.archive.archive import Archive, existing_archive, open_archive
from kvsync.testing.archive.database import ArchiveError
from kvsync.testing.archive.records import PastRun, PastStage, Scope

__all__ = ["Archive", "ArchiveError", "PastRun", "PastStage", "Scope", "existing_archive", "open_archive"]
