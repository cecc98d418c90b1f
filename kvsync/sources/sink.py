"""Where a subscriber puts what it received."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

from kvsync.events import EventBatch, Source


class Sink(Protocol):
    """Takes what a subscriber understood."""

    def apply(self, source: Source, batch: EventBatch) -> str | None:
        """Apply the next batch of a source; returns why not all that it announced is held, if that is so."""

    def forget(self, source: Source, reason: str) -> None:
        """Drop everything known of a source, because its history was lost."""


class Intake(NamedTuple):
    """How many events a message had, and why not all that its source announced is held, if that is so."""

    events: int
    flaw: str


Take = Callable[[Source, bytes], Intake | None]
"""Applies the next message of a source from its bytes. None, and nothing was done: it is to be decoded."""
