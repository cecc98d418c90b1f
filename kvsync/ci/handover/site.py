"""The pages of all runs, after one more run."""

from pathlib import Path

from kvsync.ci.archive.archive import Archive, open_archive
from kvsync.ci.handover.handover import Handover, Log
from kvsync.ci.settings import StoreSettings
from kvsync.ci.site.site import WrittenSite, store_site, write_site
from kvsync.ci.store.opening import open_store


def renew_site(handover: Handover, log: Log) -> Handover:
    """Write the pages of all runs again. A failure is a warning with its mend, and leaves nothing pending."""
    run = handover.run
    report_dir = run.parameters.report_dir
    try:
        with open_archive(run.settings, report_dir) as archive:
            make_site(archive, report_dir, run.settings.store)
    except Exception as error:
        log.warning(
            "the page of all runs is not up to date: %s; again with: kvsync-ci site --report-dir %s",
            error,
            report_dir,
        )
    return handover


def make_site(archive: Archive, report_dir: Path, settings: StoreSettings) -> tuple[WrittenSite, str]:
    """Write the pages, and store them if there is a store; returns their address in it, or "".

    Raises ArchiveError, StoreError and OSError.
    """
    store = open_store(settings)
    site = write_site(archive, report_dir, everywhere=store is not None)
    return site, store_site(site, store, settings.project) if store else ""
