"""What becomes of an error of Kubernetes' client."""

import pytest
from kubernetes.client import ApiException

from kvsync.testing.clusters.kubernetes.api_errors import NOT_FOUND, failures
from kvsync.testing.errors import ClusterError


def test_the_status_that_is_expected_is_no_failure() -> None:
    """What is to be gone and is not there is as it should be."""
    with failures("delete it", unless=NOT_FOUND):
        raise ApiException(status=404, reason="Not Found")


@pytest.mark.parametrize(
    ("unless", "status"), [(NOT_FOUND, 403), (NOT_FOUND, 500), (0, 404)], ids=["403", "500", "none expected"]
)
def test_any_other_status_is_a_failure_that_says_what_was_tried(unless: int, status: int) -> None:
    """That one status is expected excuses no other."""
    with (
        pytest.raises(ClusterError, match=rf"^cannot delete it: {status} No$"),
        failures("delete it", unless=unless),
    ):
        raise ApiException(status=status, reason="No")
