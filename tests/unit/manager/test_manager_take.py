"""Messages that a manager applies from their bytes count as those whose events it applies."""

import pytest

from kvsync.codec import decode
from kvsync.discovery import StaticDiscovery
from kvsync.index import PrefixIndex
from kvsync.manager import EventManager
from tests.property.test_native_index_properties import SOURCES, Engine

pytestmark = pytest.mark.usefixtures("either_core")


@pytest.mark.parametrize("seed", range(2))
def test_what_is_counted_does_not_depend_on_the_way(seed: int) -> None:
    """Events, effects, what is left out and why: all are the same after each message."""
    engine, source = Engine(seed), SOURCES[0]
    direct, decoded = (EventManager(PrefixIndex(), StaticDiscovery([])) for _ in range(2))
    for _ in range(120):
        payload = engine.payload()
        batch = decode(payload)
        flaw = decoded.apply(source, batch)
        taken = direct.take(source, payload)
        if taken is None:
            assert direct.apply(source, batch) == flaw
        else:
            assert taken == (len(batch.events), flaw)
        assert (direct.events, direct.applied) == (decoded.events, decoded.applied)
        assert direct.left_out(source) == decoded.left_out(source)
