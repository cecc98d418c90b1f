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
    """Events, effects, what is left out and why: all are the same after each few messages."""
    engine, source = Engine(seed), SOURCES[0]
    direct, decoded = (EventManager(PrefixIndex(), StaticDiscovery([])) for _ in range(2))
    for number in range(120):
        payloads = [engine.payload() for _ in range(1 + number % 3)]
        while payloads:
            taken = direct.take(source, payloads)
            batches = [decode(payload) for payload in payloads[: taken.messages if taken else 1]]
            flaw = [decoded.apply(source, batch) for batch in batches][-1]
            if taken is None:
                assert direct.apply(source, batches[0]) == flaw
            else:
                assert taken == (sum(len(batch.events) for batch in batches), flaw, len(batches))
            payloads = payloads[len(batches) :]
        assert (direct.events, direct.applied) == (decoded.events, decoded.applied)
        assert direct.changes == decoded.changes
        assert direct.left_out(source) == decoded.left_out(source)
