"""The states of a version."""

import pytest

from registry.core import State, moved
from registry.errors import Conflict, Gone


@pytest.mark.parametrize(
    ("now", "to"),
    [
        ("active", "active"),
        ("active", "deprecated"),
        ("active", "deleted"),
        ("deprecated", "deprecated"),
        ("deprecated", "deleted"),
    ],
)
def test_moves_forward_are_allowed(now: State, to: State) -> None:
    """A version is deprecated, then deleted; what it is already changes nothing."""
    assert moved(now, to) == to


def test_a_deprecated_version_does_not_become_active() -> None:
    """Who read that it is deprecated may rely on it."""
    with pytest.raises(Conflict, match="deprecated"):
        moved("deprecated", "active")


@pytest.mark.parametrize("to", ["active", "deprecated", "deleted"])
def test_nothing_follows_deletion(to: State) -> None:
    """A deleted version stays deleted."""
    with pytest.raises(Gone):
        moved("deleted", to)
