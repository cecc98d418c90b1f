"""Faults that the simulated engine inflicts on itself when its admin interface says so: in any cluster."""

from collections.abc import Callable

from kvsync.testing.clusters.cluster import PodHandle
from kvsync.testing.clusters.endpoints import PodAdmin
from kvsync.testing.faults import effects
from kvsync.testing.faults.fault import ClockOffset, MessageLoss
from kvsync.testing.faults.holding import Effect


class EngineFault:
    """One such fault; `stimulate` makes the pod publish."""

    def __init__(
        self, pod: PodHandle, fault: MessageLoss | ClockOffset, stimulate: Callable[[], None]
    ) -> None:
        self._pod, self._fault, self._stimulate = pod, fault, stimulate

    def inject(self) -> None:
        """Tell the engine; whatever else it was told is off from then on."""
        admin = PodAdmin(self._pod.admin_url)
        match self._fault:
            case MessageLoss(fraction=fraction):
                admin.disturb(drop=fraction)
            case ClockOffset(offset_s=offset_s):
                admin.disturb(clock_offset_s=offset_s)

    def recover(self) -> None:
        """Tell the engine to be well."""
        PodAdmin(self._pod.admin_url).disturb()

    def measure(self) -> Effect:
        """Count lost messages, or read the engine's clock."""
        match self._fault:
            case MessageLoss():
                return effects.lost(self._pod, self._stimulate)
            case ClockOffset(offset_s=offset_s):
                return effects.skewed(self._pod, offset_s)
