"""The same tests on servers of this machine's and in containers."""

import sys
import threading
from pathlib import Path

import pytest

from kvsync.ci.project.choice import stages_of
from kvsync.ci.project.reading import parse_project
from kvsync.ci.settings import ServiceSettings
from kvsync.ci.stages.making import make_served
from kvsync.ci.stages.stage import StageContext, run_safely
from kvsync.testing.processes.ledger import Ledger
from kvsync.testing.results.outcome import StageResult
from tests.integration.ci.services.images import settings_of

TESTS = """\
import os, socket
import boto3, psycopg

def database():
    with psycopg.connect(os.environ["DATA_URL"]) as connection:
        connection.execute("CREATE TABLE t (x int PRIMARY KEY)")
        connection.execute("INSERT INTO t VALUES (1)")
        return connection.execute("SELECT count(*) FROM t").fetchone() == (1,)

def twice():
    with psycopg.connect(os.environ["DATA_URL"]) as connection:
        connection.execute("INSERT INTO t VALUES (1)")  # there is one
        return True

def cache():
    with socket.create_connection((os.environ["CACHE_HOST"], int(os.environ["CACHE_PORT"]))) as connection:
        connection.sendall(b"SET a b\\r\\nGET a\\r\\n")
        lines = connection.makefile("rb")
        return [lines.readline() for _ in range(3)] == [b"+OK\\r\\n", b"$1\\r\\n", b"b\\r\\n"]

def objects():
    login = {"aws_access_key_id": os.environ["OBJECTS_ACCESS_KEY"]}
    login["aws_secret_access_key"] = os.environ["OBJECTS_SECRET_KEY"]
    client = boto3.client("s3", endpoint_url=os.environ["OBJECTS_URL"], region_name="us-east-1", **login)
    bucket = os.environ["OBJECTS_BUCKET"]
    client.put_object(Bucket=bucket, Key="a", Body=b"1")
    return [each["Key"] for each in client.list_objects_v2(Bucket=bucket)["Contents"]] == ["a"]

failed = 0
for number, test in enumerate((database, twice, cache, objects), start=1):
    try:
        ok = test()
    except psycopg.errors.UniqueViolation:
        ok = False
    failed += not ok
    print("ok" if ok else "not ok", number, test.__name__)
print("1..4")
raise SystemExit(failed > 0)
"""

FILE = f"""
[services.data]
kind = "postgres"
start_timeout = 180
[services.cache]
kind = "redis"
start_timeout = 180
[services.objects]
kind = "s3"
start_timeout = 180
[stages.it]
kind = "command"
command = ["{sys.executable}", "it.py"]
results = "{{output}}"
format = "tap"
needs = ["data", "cache", "objects"]
"""


def verdict(folder: Path, settings: ServiceSettings, ledger: Ledger | None = None) -> StageResult:
    """Run the tests with services of these settings, as pods where there is the ledger of a run with some."""
    (folder / "it.py").write_text(TESTS)
    project, in_pods = parse_project(FILE), ledger is not None
    ledger = ledger or Ledger(folder / "run" / "ledger.jsonl")
    context = StageContext(
        run_dir=ledger.path.parent, repository=folder, ledger=ledger, stop=threading.Event()
    )
    stage = make_served(stages_of(project)["it"], 120, project.services, settings, in_pods=in_pods)
    return run_safely(stage, context)


VERDICT = [("database", "passed"), ("twice", "failed"), ("cache", "passed"), ("objects", "passed")]


@pytest.mark.timeout(300)  # six servers are started, and images are built the first time
def test_the_same_tests_have_the_same_verdict(images: dict[str, str], tmp_path: Path) -> None:
    """What passes and what fails does not depend on where a server comes from; the report says where."""
    results = []
    for name, settings in (("here", ServiceSettings()), ("contained", settings_of(images))):
        (tmp_path / name).mkdir()
        results.append(verdict(tmp_path / name, settings))
    here, contained = results
    if here.reason.startswith("NotRun"):
        pytest.skip(here.reason)

    assert [(check.name, check.kind) for check in here.checks] == VERDICT
    assert [(check.name, check.kind) for check in contained.checks] == VERDICT
    assert contained.outcome is here.outcome
    assert sum("of the image" in said or "the image" in said for said in contained.remarks) == 3
    assert not any("the image" in said for said in here.remarks)
