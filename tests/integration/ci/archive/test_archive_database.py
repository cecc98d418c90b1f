"""Opening an archive: new, old, newer than the code, by many at once, and in words when it fails."""

import sqlite3
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from threading import Timer

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from pydantic import SecretStr
from sqlalchemy import create_engine, text

from kvsync.ci.archive.archive import Archive
from kvsync.ci.archive.database import NEWEST, ArchiveError
from kvsync.ci.report.report import Report
from kvsync.testing.results.measurement import Measurement

MakeReport = Callable[..., Report]

AT_ONCE = """
import sys
from pathlib import Path
from kvsync.ci.archive.archive import Archive
from kvsync.ci.report.report import Report
report = Report.read(Path(sys.argv[2]))
print("ready", flush=True)
sys.stdin.readline()
with Archive.open(sys.argv[1], Path()) as archive:
    archive.record(report)
"""


def test_processes_open_and_record_at_once(url: str, tmp_path: Path, make_report: MakeReport) -> None:
    """Several runs that end at one moment all find their place in an archive that none of them has seen."""
    recorders = []
    for day in (1, 2):
        make_report(day, unit="PF").write(tmp_path / f"{day}.json")
        argv = [sys.executable, "-c", AT_ONCE, url, str(tmp_path / f"{day}.json")]
        recorders.append(
            subprocess.Popen(
                argv, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )
        )
    for recorder in recorders:
        assert recorder.stdout is not None
        assert recorder.stdout.readline() == "ready\n"
    for recorder in recorders:
        assert recorder.stdin is not None
        recorder.stdin.write("\n")
        recorder.stdin.flush()
    with Archive.open(url, tmp_path) as archive:
        archive.record(make_report(1, unit="PF"))
    assert [recorder.communicate(timeout=30)[0] for recorder in recorders] == ["", ""]

    with Archive.open(url, tmp_path) as archive:
        assert [(run.run, run.stages[0].counts) for run in archive.series()] == [
            ("run-2", {"passed": 1, "failed": 1}),
            ("run-1", {"passed": 1, "failed": 1}),
        ]


def test_a_new_file_that_another_writes_to_is_waited_for(tmp_path: Path) -> None:
    """SQLite itself does not wait then: it refuses at once to keep its log as we want it."""
    other = sqlite3.connect(tmp_path / "archive.db", isolation_level=None, check_same_thread=False)
    other.execute("begin immediate")
    ending = Timer(0.3, other.close)
    ending.start()

    Archive.open("", tmp_path).close()

    ending.join()


def test_the_tables_are_those_of_the_code(url: str, tmp_path: Path) -> None:
    """The migrations make exactly what the code expects."""
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    from kvsync.ci.archive.tables import Table

    Archive.open(url, tmp_path).close()

    engine = create_engine(url)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Table.metadata) == []
    engine.dispose()


def test_an_older_archive_is_brought_up_to_date(url: str, tmp_path: Path, make_report: MakeReport) -> None:
    """An archive of the first version keeps what is in it, and takes what that version did not know."""
    with Archive.open(url, tmp_path) as archive:
        archive.record(make_report(1, unit="P"))
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("drop table measurements"))
        connection.execute(text("drop index checks_that_tell"))
        connection.execute(text("update alembic_version set version_num = '0001'"))
    engine.dispose()
    pause = Measurement(name="lookup", metric="p99", value=4.0, unit="us", samples=500)

    with Archive.open(url, tmp_path) as archive:
        archive.record(make_report(2, unit="P"), [pause])

        assert [run.run for run in archive.series()] == ["run-2", "run-1"]
        assert archive.measurements(["run-1", "run-2"]) == {"run-2": [pause]}


def test_a_newer_archive_is_left_alone(url: str, tmp_path: Path, make_report: MakeReport) -> None:
    """An archive that a newer version wrote is an error that says so, and is not changed."""
    with Archive.open(url, tmp_path) as archive:
        archive.record(make_report(1, unit="P"))
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("update alembic_version set version_num = '9999'"))

    with pytest.raises(ArchiveError, match=r"is of version 9999, newer than this kvsync knows \(\d{4}\)"):
        Archive.open(url, tmp_path)

    with engine.connect() as connection:
        assert connection.execute(text("select id from runs")).scalars().all() == ["run-1"]
    engine.dispose()


def test_without_a_url_it_is_a_file_among_the_reports(tmp_path: Path) -> None:
    """The archive lies in the report folder, which is made; readers do not wait for writers."""
    Archive.open(SecretStr(""), tmp_path / "reports").close()

    connection = sqlite3.connect(tmp_path / "reports" / "archive.db")
    assert connection.execute("pragma journal_mode").fetchone() == ("wal",)
    connection.close()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql+psycopg://kvsync:s3cr3t@/archive?host=/nowhere", "cannot be opened"),
        ("postgresql+psycopg://kvsync:s3cr3t@127.0.0.1:1/archive", "cannot be opened"),
        ("postgresql+psycopg://kvsync:s3cr3t@host:port/archive", "KVSYNC_CI_ARCHIVE_URL"),
        ("s3cr3t", "KVSYNC_CI_ARCHIVE_URL"),
        ("mysql://kvsync:s3cr3t@host/archive", "no archive on mysql"),
        ("postgresql+none://kvsync:s3cr3t@host/archive", "no driver"),
        ("postgresql+psycopg://kvsync@127.0.0.1:1/archive?password=s3cr3t", "cannot be opened"),
        ("postgresql+psycopg://kvsync@127.0.0.1:1/archive?connect_timeout=s3cr3t", "cannot be opened"),
        ("sqlite:////nowhere/archive.db", "cannot be opened"),
    ],
    ids=["socket", "port", "no port", "no URL", "MySQL", "driver", "password option", "option", "file"],
)
def test_what_is_wrong_is_said_without_the_password(url: str, said: str, tmp_path: Path) -> None:
    """An archive that cannot be opened says which and how to mend it; the password is nowhere in it."""
    with pytest.raises(ArchiveError, match=said) as caught:
        Archive.open(SecretStr(url), tmp_path)

    assert "s3cr3t" not in "".join(traceback.format_exception(caught.value))


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    """A damaged archive is an error that names the file."""
    (tmp_path / "archive.db").write_text("this is no database" * 100)

    with pytest.raises(ArchiveError, match=r"archive\.db cannot be opened: file is not a database"):
        Archive.open("", tmp_path)


def test_an_archive_is_brought_to_the_last_migration() -> None:
    """One that is there already is not asked for its migrations, only for this version."""
    config = Config()
    config.set_main_option("script_location", "kvsync.ci.archive:migrations")

    assert ScriptDirectory.from_config(config).get_current_head() == NEWEST
