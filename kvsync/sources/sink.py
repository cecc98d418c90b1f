"""Where a subscriber puts what it received."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from kvsync.events import EventBatch, Source


class Sink(Protocol):
    """Takes what a subscriber understood."""

    def apply(self, source: Source, batch: EventBatch) -> str | None:
        """Apply the next batch of a source; returns why not all that it announced is held, if that is so."""

    def forget(self, source: Source, reason: str) -> None:
        """Drop everything known of a source, because its history was lost."""


class Intake(NamedTuple):
    """How many events messages had, and why not all that their source announced is held, if that is so."""

    events: int
    flaw: str
    messages: int = 1


Take = Callable[[Source, Sequence[bytes]], Intake | None]
"""Applies the next messages of a source from their bytes, those that it can, in order. None, and nothing was
done: the first of them is to be decoded."""
