"""Carries faults out on the services of a stage: the proxy in front of them, their processes, and stress.

Effects are measured with requests of our own, through the proxy and past it. While a fault acts, the whole
effect has to show; at other times anything short of a service that answers is taken for the fault.
"""

import sys
from collections.abc import Callable, Mapping, Sequence

from kvsync.ci.chaos.network import ListenerFault, ServiceAsked, ServiceCut
from kvsync.ci.chaos.processes import Down, Ended, Paused, ProcessAsked
from kvsync.ci.services.running_service import RunningService
from kvsync.ci.services.service import Surroundings
from kvsync.testing.faults.fault import (
    Bandwidth,
    ContainerKill,
    Corruption,
    CpuStress,
    Cut,
    Fault,
    Latency,
    MemoryStress,
    Partition,
    PodFailure,
    PodPause,
    PortsBlocked,
    Restart,
    name_of,
)
from kvsync.testing.faults.holding import Effect, Injection
from kvsync.testing.faults.local.injector import LocalInjector
from kvsync.testing.faults.local.stress import LocalStress
from kvsync.testing.processes.program import Program
from kvsync.testing.results.verdicts import NotRun


class ServiceInjector:
    """An Injector for the services of one stage; `check` raises when there is no time for a measurement."""

    def __init__(
        self, services: Mapping[str, RunningService], around: Surroundings, check: Callable[[], None]
    ) -> None:
        self._services, self._around, self._check = services, around, check

    @staticmethod
    def impossible(fault: Fault) -> str:
        """See Injector."""
        return LocalInjector.impossible(fault)

    def prepare(self, fault: Fault) -> Injection:
        """See Injector."""
        return _Checked(self._prepared(fault), self._check)

    def _prepared(self, fault: Fault) -> Injection:
        name, service = fault.pod, self._services[fault.pod]
        match fault:
            case ContainerKill() | Restart():
                return Ended(ProcessAsked(name, service), is_asked=isinstance(fault, Restart))
            case PodFailure():
                return Down(ProcessAsked(name, service))
            case PodPause():
                return Paused(ProcessAsked(name, service))
            case CpuStress() | MemoryStress():
                return LocalStress(self._run_beside, fault)
            case Cut():
                return ServiceCut(ServiceAsked(name, service))
            case Partition() | Latency() | Bandwidth() | Corruption() | PortsBlocked():
                return ListenerFault(ServiceAsked(name, service), fault)
        raise NotRun(self.impossible(fault) or f"a service of this machine cannot have {name_of(fault)}")

    def _run_beside(self, name: str, module: str, arguments: Sequence[str]) -> Program:
        log = self._around.logs / f"{name}.log"
        return Program(name, [sys.executable, "-m", module, *arguments], log=log, ledger=self._around.ledger)


class _Checked:
    """An injection whose measurements end when there is no more time for them."""

    def __init__(self, injection: Injection, check: Callable[[], None]) -> None:
        self.inject, self.recover = injection.inject, injection.recover
        self._injection, self._check = injection, check

    def measure(self) -> Effect:
        """See Injection."""
        self._check()
        return self._injection.measure()
