"""The services of one stage, from the first that is started to the last that is ended."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager

from kvsync.ci.project.model import (
    PostgresServiceTable,
    ProcessServiceTable,
    RedisServiceTable,
    S3ServiceTable,
    ServiceTable,
)
from kvsync.ci.services.postgres import postgres
from kvsync.ci.services.program import program, require_program
from kvsync.ci.services.proxied import proxied
from kvsync.ci.services.redis import redis
from kvsync.ci.services.running_service import RunningService
from kvsync.ci.services.s3 import s3
from kvsync.ci.services.service import Surroundings
from kvsync.testing.clusters.local.fault_proxy import FaultProxy


@contextmanager
def running(
    services: Mapping[str, ServiceTable],
    order: Sequence[str],
    around: Surroundings,
    proxy: FaultProxy | None = None,
) -> Iterator[Mapping[str, RunningService]]:
    """Start services in this order, each when those before it are ready, and end them the other way round.

    With a `proxy` each is reached through it, also by those after it.


    Raises NotRun, with the mend, for one that cannot be had here, and NotReady.
    """
    for name in order:
        if isinstance(table := services[name], ProcessServiceTable):
            require_program(name, table, around)
    with ExitStack() as stack:
        found: dict[str, RunningService] = {}
        for name in order:
            service = stack.enter_context(_start(name, services[name], found, around))
            found[name] = proxied(service, proxy) if proxy else service
        yield found


def _start(
    name: str, table: ServiceTable, others: Mapping[str, RunningService], around: Surroundings
) -> AbstractContextManager[RunningService]:
    match table:
        case ProcessServiceTable():
            return program(name, table, others, around)
        case PostgresServiceTable():
            return postgres(name, around, table.start_timeout)
        case RedisServiceTable():
            return redis(name, around, table.start_timeout)
        case S3ServiceTable():
            return s3(name, around, table.start_timeout)
