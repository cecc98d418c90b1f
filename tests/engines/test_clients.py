"""Real clients play the scenarios of tests/integration/clients against a real engine and a gateway."""

import asyncio
from pathlib import Path

import pytest

from kvsync.testing import wait_for
from kvsync.testing.clusters.endpoints import fetch
from tests.engines.servers import MODEL, READY_S
from tests.engines.site import SETTLED_S, Site
from tests.integration.clients.outcome import Outcome
from tests.integration.clients.scenarios import CLIENTS, command, play, scenarios, wrong

pytestmark = pytest.mark.timeout(3 * READY_S)

PLAN = scenarios(MODEL, without=("embeddings", "stored responses", "long", "shapes"))
"""The model generates text, keeps nothing, takes 2048 tokens, and refuses messages in OpenAI's shape."""


@pytest.mark.parametrize("client", CLIENTS)
def test_a_client_cannot_tell_the_gateway_from_an_engine(site: Site, client: str, tmp_path: Path) -> None:
    """It gets what it expects of both, of the same kind; what it leaves ends, predictions come true.

    Java's is not tried without the gateway: vLLM loses the body of a request that offers HTTP/2 (0.32).
    """
    command(client)
    there, before = site.servers["a"].pod.url, site.predictions()

    servers = [site.url] if client == "java" else [there, site.url]
    outcomes = asyncio.run(play(client, PLAN, tmp_path, *servers))

    found = {server: list(wrong(PLAN, its, counts=False)) for server, its in outcomes.items()}
    assert found == {server: [] for server in servers}
    assert kinds(outcomes[site.url]) == kinds(outcomes[servers[0]])
    wait_for(
        lambda: {pod["running"] for pod in fetch(f"{site.url}/status")["pods"]} == {0},
        what="the gateway has no request left",
        timeout_s=SETTLED_S,
    )
    after = site.predictions()
    for pod, its in after.items():
        assert (pod, its["over"], its["under"]) == (pod, before[pod]["over"], before[pod]["under"])
    assert sum(its["exact"] for its in after.values()) > sum(its["exact"] for its in before.values())


def kinds(outcomes: dict[str, Outcome]) -> dict[str, object]:
    """What does not depend on what the model says."""
    return {
        name: (each.status, len(each.texts), len(each.endings), each.input_tokens)
        for name, each in outcomes.items()
    }
