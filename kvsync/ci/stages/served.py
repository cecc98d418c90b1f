"""A stage with the services that it needs: they are there, fresh and empty, for as long as it runs.

Its processes find them by variables, and its words by names in braces (kvsync.ci.project.services). A service
that does not become ready is evidence of nothing: the stage is not run. One that ends before the stage does
leaves a doubt.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from kvsync.ci.project.model import ServiceTable
from kvsync.ci.project.services import variables
from kvsync.ci.run_folder import RunFolder
from kvsync.ci.services.running_service import RunningService
from kvsync.ci.services.service import NotReady, PodPlace, Surroundings
from kvsync.ci.settings import ServiceSettings
from kvsync.ci.stages.stage import Stage, StageContext
from kvsync.testing.clusters.kubernetes.machine import Machine
from kvsync.testing.clusters.local.fault_proxy import FaultProxy
from kvsync.testing.results.outcome import StageResult
from kvsync.testing.results.verdicts import NotRun


@dataclass(frozen=True, slots=True)
class ServedStage:
    """Runs what `make` returns for its services; `tables` describe those in `order`.

    With `is_proxied` they are reached through the fault proxy. With `in_pods` those of an image are pods.
    """

    name: str
    make: Callable[[Mapping[str, RunningService]], Stage]
    order: Sequence[str]
    tables: Mapping[str, ServiceTable]
    settings: ServiceSettings = field(default_factory=ServiceSettings, repr=False)
    is_proxied: bool = False
    in_pods: bool = False

    def run(self, context: StageContext) -> StageResult:
        """See Stage; the services' logs are in the run's `logs/services/<stage>/`."""
        if context.box:
            raise NotRun(
                f"it needs {', '.join(self.order)}, and in a box there are no services: run the stage for "
                'commits that need no box, or the pipeline in a container of its own (box.kind = "container")'
            )
        # Only here: the clients of all kinds of servers take long to import.
        from kvsync.ci.services.running import running

        started_at = datetime.now(UTC)
        try:
            with ExitStack() as stack:
                proxy = stack.enter_context(FaultProxy(context.seed)) if self.is_proxied else None
                around = self._around(context)
                services = stack.enter_context(running(self.tables, self.order, around, proxy))
                result = self.make(services).run(context_with(context, services))
        except NotReady as exc:
            return StageResult.unknown(
                self.name,
                f"not run: {exc}",
                started_at=started_at,
                detail="\n".join(filter(None, [f"not run: {exc}", exc.tail])),
            )
        for why in filter(None, [each.why_ended() for each in services.values()]):
            result = result.doubted(f"{why} while the stage ran")
        said = [f"service {name}: {each.source}" for name, each in services.items()]
        return replace(result, remarks=(*result.remarks, *said))

    def _place(self, context: StageContext) -> PodPlace | None:
        """Return where services are pods. Raises NotRun where they would be, and there is no cluster."""
        if not self.in_pods or not any(self.settings.image(self.tables[name].kind) for name in self.order):
            return None
        if not (written := RunFolder(context.run_dir).machine).exists():
            raise NotRun(f"its services are pods, and the {context.cluster} cluster could not be made")
        return PodPlace(Machine.read(written), self.name)

    def _around(self, context: StageContext) -> Surroundings:
        return Surroundings(
            repository=context.repository,
            logs=RunFolder(context.run_dir).logs / "services" / self.name,
            ledger=context.ledger,
            stop=context.stop,
            settings=self.settings,
            environ=context.environ,
            values={"profile": context.profile, "seed": str(context.seed)},
            pods=self._place(context),
        )


def context_with(context: StageContext, services: Mapping[str, RunningService]) -> StageContext:
    """Return the context in which the stage's processes find these services."""
    inherited = os.environ if context.environ is None else context.environ
    environ = dict(inherited)
    for name, service in services.items():
        environ |= variables(name, service.fields)
    return replace(context, environ=environ)
