"""What carries one fault out, and remembers in between what was before."""

from typing import Protocol

from kvsync.testing.faults.holding import Effect


class Carrier(Protocol):
    """Carries out one fault; the methods are those of Injector."""

    def inject(self) -> None:
        """Make the fault act."""

    def recover(self) -> None:
        """Take it back."""

    def measure(self) -> Effect:
        """Measure whether it acts now."""
