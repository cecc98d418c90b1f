"""What unit tests share."""

from collections.abc import Iterator

import pytest

from kvsync import core


@pytest.fixture(params=["python", "native"])
def either_core(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each implementation of the core in turn; gives its name."""
    if request.param == "native" and core.built is None:
        pytest.skip("the compiled core was not built here")
    core.choose(request.param)
    yield request.param
    core.choose("auto")
