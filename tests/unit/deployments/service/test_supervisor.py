"""When a service starts again, and how its ending is named."""

import pytest

from deployments.service.supervisor import delay_s, ending


def test_a_service_that_keeps_dying_is_started_ever_later() -> None:
    """At once the first time, half a minute apart in the end."""
    assert [delay_s(deaths) for deaths in range(1, 9)] == [0, 1, 2, 4, 8, 16, 30, 30]


@pytest.mark.parametrize(("status", "words"), [(2, "exit code 2"), (-9, "SIGKILL")])
def test_an_ending_is_named(status: int, words: str) -> None:
    """A signal is said by its name."""
    assert ending(status) == words
