"""The pages of all runs on each S3 server."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from kvsync.ci.archive.archive import Archive
from kvsync.ci.report.report import Report
from kvsync.ci.site.site import store_site, write_site
from kvsync.testing.results.outcome import Check, merge
from tests.integration.ci.store.conftest import Bucket

AT = datetime(2026, 11, 1, tzinfo=UTC)


def report(number: int) -> Report:
    """Return the report of a run."""
    return Report(
        run=f"run-{number}",
        started_at=AT + timedelta(days=number),
        duration_s=1.0,
        command="",
        stages=[merge("unit", [Check(name="t.py::test_ü", kind="passed")], started_at=AT)],
        parameters={"repository": "/gw"},
        commit=f"{number:040}",
        branch="main",
        versions={},
        machine={},
    )


def test_the_pages_are_stored_and_only_sent_when_they_change(server_bucket: Bucket, tmp_path: Path) -> None:
    """They are served as pages; a further run costs the first page, and what nothing changes stays."""
    store, base, sent = server_bucket.store, "kvsync/all_runs/", []
    events, called = server_bucket.client.meta.events, "before-call.s3.PutObject"

    def note(params: Mapping[str, str], **_: object) -> None:
        sent.append(params["url_path"].rpartition("/")[2])

    def renew(*runs: int) -> list[str]:
        """Record runs, and return which pages that sends."""
        with Archive.open("", tmp_path) as archive:
            for number in runs:
                archive.record(report(number))
            site = write_site(archive, tmp_path, everywhere=True, size=2)
        sent.clear()
        assert store_site(site, store, "kvsync").endswith(f"{base}index.html")
        return sorted(sent)

    events.register(called, note)
    try:
        assert renew(1, 2, 3, 4) == ["index.html", "runs-0001.html", "runs-0002.html"]
        assert renew(5) == ["index.html"]
    finally:
        events.unregister(called, note)
    for name in ("index", "runs-0001", "runs-0002"):
        key = f"{base}{name}.html"
        head = server_bucket.client.head_object(
            Bucket=server_bucket.name, Key=f"{server_bucket.prefix}/{key}"
        )
        assert head["ContentType"] == "text/html; charset=utf-8"
        assert store.get(key) == (tmp_path / "all_runs" / f"{name}.html").read_bytes()
    assert b"run-5/report.html" in store.get(f"{base}index.html")
