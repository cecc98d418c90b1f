"""What all suites share: coroutines as tests, on asyncio."""

import pytest


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Run coroutines as the service does."""
    return "asyncio"
