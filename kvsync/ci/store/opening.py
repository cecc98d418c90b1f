"""The store that the settings name."""

from pathlib import Path

from kvsync.ci.settings import StoreSettings
from kvsync.ci.store.directory import DirectoryStore
from kvsync.ci.store.store import Store


def open_store(settings: StoreSettings) -> Store | None:
    """Return the store that is configured; None without one. Raises StoreError."""
    if settings.url.startswith("s3://"):
        # Imported here, since boto3 takes long to import and most commands need no S3.
        from kvsync.ci.store.s3 import S3Store

        return S3Store.open(settings)
    return DirectoryStore(Path(settings.url), settings.link_base) if settings.url else None
