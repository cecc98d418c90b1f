"""The garbage collector pauses while very many values are made."""

import gc
from contextlib import suppress

from kvsync.testing.results.uncollected import uncollected


def test_it_is_as_before_afterwards() -> None:
    """It pauses in the body only, whatever happens there."""
    with suppress(ValueError), uncollected():
        assert not gc.isenabled()
        raise ValueError

    assert gc.isenabled()
