"""How a flow run ends that nothing drives any more."""

import pytest

from deployments.service.mending import Mend, Sighting, decide


def sighting(state: str, worker: str = "me", *, started: bool = True, missing_s: float = 61) -> Sighting:
    """A flow run that has been without a process for a minute."""
    return Sighting(state=state, worker=worker, started=started, missing_s=missing_s)


@pytest.mark.parametrize(
    ("seen", "mend"),
    [
        pytest.param(sighting("RUNNING"), "crash", id="it was killed"),
        pytest.param(sighting("CANCELLING"), "cancel", id="it was cancelled and then killed"),
        pytest.param(sighting("PENDING", started=False), "reschedule", id="it never began"),
        pytest.param(sighting("PENDING"), "crash", id="it was to be tried again"),
        pytest.param(sighting("PENDING", "", started=False), "reschedule", id="nobody signed it"),
        pytest.param(sighting("RUNNING", missing_s=59), None, id="another may be mending it"),
        pytest.param(sighting("RUNNING", "other"), None, id="it is on another machine"),
        pytest.param(sighting("PENDING", "other", started=False), None, id="another worker starts it"),
        pytest.param(sighting("RUNNING", ""), None, id="it was started by hand"),
    ],
)
def test_how_a_run_without_a_process_ends(seen: Sighting, mend: Mend | None) -> None:
    """What ran has crashed, what was cancelled is cancelled, what never began begins anew."""
    assert decide(seen, worker="me") == mend
