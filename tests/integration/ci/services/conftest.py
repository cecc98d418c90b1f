"""Images of the real servers."""

import os

import pytest

from tests.integration.ci.services.images import build, unable


@pytest.fixture(scope="session")
def images() -> dict[str, str]:
    """Images by kind: those that are named, or ones that are built where Docker is."""
    kinds = ("postgres", "redis", "s3")
    named = {kind: os.environ.get(f"KVSYNC_CI_TEST_{kind.upper()}_IMAGE", "") for kind in kinds}
    if any(named.values()):
        return named
    if why := unable():
        pytest.skip(f"no KVSYNC_CI_TEST_POSTGRES_IMAGE, _REDIS_IMAGE and _S3_IMAGE, and {why}")
    return build()
