"""Real PostgreSQL, Redis and S3 for a stage: fresh and empty, on this machine's loopback, gone afterwards."""

import os
import secrets
import socket
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import psycopg
import pytest
from pydantic import SecretStr

from kvsync.ci.cleaning.residue import find
from kvsync.ci.services.postgres import postgres
from kvsync.ci.services.redis import ask, redis
from kvsync.ci.services.running_service import RunningService
from kvsync.ci.services.s3 import s3
from kvsync.ci.services.service import NotReady, Surroundings
from kvsync.ci.settings import ServiceSettings
from kvsync.testing.processes.ledger import Ledger
from kvsync.testing.results.verdicts import NotRun

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

TIMEOUT_S = 50.0


IMAGES = {
    kind: os.environ.get(f"KVSYNC_CI_TEST_{kind.upper()}_IMAGE", "") for kind in ("postgres", "redis", "s3")
}
"""Of containers in which the same is tested, where they are named."""


@pytest.fixture(params=["here", "container"])
def anywhere(around: Surroundings, request: pytest.FixtureRequest) -> Surroundings:
    """The same run, with servers of this machine's and in containers."""
    if request.param == "here":
        return around
    if not any(IMAGES.values()):
        pytest.skip("no KVSYNC_CI_TEST_POSTGRES_IMAGE, _REDIS_IMAGE and _S3_IMAGE")
    images = {f"{kind}_image": image for kind, image in IMAGES.items()}
    return replace(around, settings=ServiceSettings.model_validate(images))


@pytest.fixture
def around(tmp_path: Path) -> Surroundings:
    """A run without a repository."""
    run_dir = tmp_path / f"run-{secrets.token_hex(4)}"  # processes of other runs are none of ours
    return Surroundings(
        repository=tmp_path,
        logs=run_dir / "logs",
        ledger=Ledger(run_dir / "ledger.jsonl"),
        stop=threading.Event(),
    )


def started(stack: ExitStack, service: AbstractContextManager[RunningService]) -> RunningService:
    """Start a service, or skip the test where there is no server of its kind."""
    try:
        return stack.enter_context(service)
    except NotReady as exc:
        pytest.fail(f"{exc}\n{exc.tail}")
    except NotRun as exc:
        pytest.skip(str(exc))


def is_gone(service: RunningService, around: Surroundings) -> bool:
    """Say whether nothing is left of a service."""
    with socket.socket() as connection:
        refused = connection.connect_ex((service.fields["host"], int(service.fields["port"]))) != 0
    return refused and not find(around.ledger.path, marked=[])


def test_postgres_has_a_new_database_with_a_password(anywhere: Surroundings) -> None:
    """Of the name of the service; without the password there is none."""
    with ExitStack() as stack:
        service = started(stack, postgres("my-data", anywhere, TIMEOUT_S))
        with closing(psycopg.connect(service.fields["url"])) as connection:
            rows = connection.execute(
                "SELECT current_database(), count(*) FROM pg_stat_user_tables"
            ).fetchall()
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(service.fields["url"].replace(service.fields["password"], "guessed"))

    assert rows == [("my-data", 0)]
    assert service.source.startswith("PostgreSQL ")
    assert "ready to accept connections" in (anywhere.logs / "my-data.log").read_text()
    assert is_gone(service, anywhere)


def test_an_owners_postgres_lends_a_database_and_gets_it_back(around: Surroundings) -> None:
    """What was in it is gone, whoever is still connected."""
    with ExitStack() as stack:
        server = started(stack, postgres("owned", around, TIMEOUT_S))
        settings = ServiceSettings(postgres=SecretStr(server.fields["url"]))
        lent = replace(around, settings=settings)
        with postgres("data", lent, TIMEOUT_S) as service:
            connection = stack.enter_context(closing(psycopg.connect(service.fields["url"])))
            connection.execute("CREATE TABLE t (x int)")
            connection.commit()
        with closing(psycopg.connect(server.fields["url"])) as asked:
            names = [name for (name,) in asked.execute("SELECT datname FROM pg_database")]

    assert service.fields["database"].startswith("kvsync_data_")
    assert service.fields["database"] not in names
    assert server.fields["password"] not in service.source


def test_redis_is_empty(anywhere: Surroundings) -> None:
    """It keeps what is written to it as long as it runs."""
    with ExitStack() as stack:
        service = started(stack, redis("cache", anywhere, TIMEOUT_S))
        url = service.fields["url"]
        said = ask(url, ("DBSIZE",)), ask(url, ("SET", "a", "b")), ask(url, ("DBSIZE",))

    assert said == ("0", "OK", "1")
    assert is_gone(service, anywhere)


def test_an_owners_redis_lends_what_is_empty_and_gets_it_back_empty(around: Surroundings) -> None:
    """What is in use is not touched."""
    with ExitStack() as stack:
        server = started(stack, redis("owned", around, TIMEOUT_S))
        url = server.fields["url"]
        ask(url, ("SET", "theirs", "1"))
        lent = replace(around, settings=ServiceSettings(redis=SecretStr(url)))
        with redis("cache", lent, TIMEOUT_S) as service:
            ask(url, ("SELECT", "1"), ("SET", "ours", "1"))
        sizes = [ask(url, ("SELECT", number), ("DBSIZE",)) for number in "01"]

    assert service.fields["url"].endswith("/1")
    assert sizes == ["1", "0"]


def test_s3_has_an_empty_bucket_for_one_login(anywhere: Surroundings) -> None:
    """Others are refused, and no bucket is there that was not made."""
    with ExitStack() as stack:
        service = started(stack, s3("objects", anywhere, TIMEOUT_S))
        client = client_of(service, service.fields["secret_key"])
        before = client.list_objects_v2(Bucket="objects")["KeyCount"]
        client.put_object(Bucket="objects", Key="a", Body=b"1")
        after = client.get_object(Bucket="objects", Key="a")["Body"].read()
        buckets = [each["Name"] for each in client.list_buckets()["Buckets"]]
        with pytest.raises(client.exceptions.ClientError, match="SignatureDoesNotMatch"):
            client_of(service, "guessed").list_objects_v2(Bucket="objects")

    assert (before, after, buckets) == (0, b"1", ["objects"])
    assert is_gone(service, anywhere)


def client_of(service: RunningService, secret: str) -> "S3Client":
    """Return a client of a server."""
    return boto3.client(
        "s3",
        endpoint_url=service.fields["url"],
        aws_access_key_id=service.fields["access_key"],
        aws_secret_access_key=secret,
        region_name="us-east-1",
    )


@pytest.mark.parametrize(("start", "name"), [(postgres, "postgres"), (redis, "redis"), (s3, "s3")])
def test_an_owners_server_that_is_not_there_is_said_without_its_password(
    around: Surroundings, start: Callable[..., AbstractContextManager[RunningService]], name: str
) -> None:
    """With where it was looked for."""
    scheme = {"postgres": "postgresql", "redis": "redis", "s3": "http"}[name]
    settings = ServiceSettings.model_validate({name: f"{scheme}://me:secret-word@127.0.0.1:1"})
    lent = replace(around, settings=settings)

    with pytest.raises(NotReady, match=r"127\.0\.0\.1") as raised, start("it", lent, TIMEOUT_S):
        pass

    assert "secret-word" not in str(raised.value)
    assert not find(around.ledger.path, marked=[])
