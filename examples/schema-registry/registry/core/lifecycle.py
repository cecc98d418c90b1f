"""The states of a version: active, then perhaps deprecated, at last deleted. There is no way back."""

from typing import Literal

from registry.errors import Conflict, Gone

State = Literal["active", "deprecated", "deleted"]

_NEXT: dict[State, tuple[State, ...]] = {
    "active": ("deprecated", "deleted"),
    "deprecated": ("deleted",),
    "deleted": (),
}


def moved(now: State, to: State) -> State:
    """Return the state after a move. Raises Gone for what was deleted, and Conflict for a move back."""
    if now == "deleted":
        raise Gone("it was deleted")
    if now == to or to in _NEXT[now]:
        return to
    raise Conflict(f"it is {now} and cannot become {to} again")
