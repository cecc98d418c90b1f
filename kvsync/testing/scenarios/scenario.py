"""What the tests of a whole cluster do over and over: ask, look things up, and verify the index."""

import itertools
import random
from collections.abc import Iterable, Mapping, Sequence

from kvsync.testing.clusters.cluster import Cluster, PodHandle
from kvsync.testing.clusters.endpoints import GatewayView, PodAdmin
from kvsync.testing.oracle.tables import Comparison, LookupPrompt
from kvsync.testing.results.history import History
from kvsync.testing.scenarios.quiesce import CONVERGENCE_S, settle, verify
from kvsync.testing.traffic.sender import Answer, Sender
from kvsync.testing.traffic.trace import TraceRequest

BLOCK = 16
"""Tokens per block unless a test says otherwise: vLLM's default."""

Tokens = tuple[int, ...]


class Scenario:
    """A cluster with one gateway, the history of what is done to it, and prompts never used before."""

    def __init__(self, cluster: Cluster, history: History, *, seed: int) -> None:
        self.cluster, self.history, self.seed = cluster, history, seed
        self._rng = random.Random(seed)  # noqa: S311 - no secret
        self._numbers = itertools.count()

    @property
    def view(self) -> GatewayView:
        """What a gateway says: asked for each time, because a restart may change its address."""
        return GatewayView(self.cluster.gateways()[0])

    @property
    def test(self) -> str:
        """The test that its history is of, and which attempt at it."""
        return str(self.history.fields["test"])

    def prompt(self, blocks: int, *, after: Tokens = ()) -> Tokens:
        """Make a prompt of this many new blocks and one more token, after the full blocks of another one."""
        kept = after[: len(after) // BLOCK * BLOCK]
        return (*kept, *(self._rng.randrange(1 << 16) for _ in range(blocks * BLOCK + 1)))

    def request(
        self, model: str, tokens: Tokens, *, max_tokens: int = 1, cache_salt: str | None = None
    ) -> TraceRequest:
        """Make a request to send now."""
        return TraceRequest(
            number=next(self._numbers),
            at_s=0.0,
            model=model,
            token_ids=tokens,
            max_tokens=max_tokens,
            cache_salt=cache_salt,
        )

    def ask(
        self,
        model: str,
        tokens: Tokens,
        *,
        pod: PodHandle | None = None,
        max_tokens: int = 1,
        cache_salt: str | None = None,
    ) -> Answer:
        """Send one request through the gateway, or past it to one pod; it has to succeed."""
        request = self.request(model, tokens, max_tokens=max_tokens, cache_salt=cache_salt)
        (answer,) = self.send([request], pod=pod)
        assert answer.ok, f"{model} did not answer: {answer.status} {answer.error}"
        return answer

    def send(
        self, requests: Iterable[TraceRequest], *, pod: PodHandle | None = None, workers: int = 1
    ) -> list[Answer]:
        """Send requests through the gateway, or past it to one pod; failures are answers, too."""
        with Sender(pod.url if pod else self.cluster.gateway_url, self.history) as sender:
            return sender.send_all(requests, workers=workers)

    def admin(self, pod: PodHandle) -> PodAdmin:
        """Return the admin interface of a pod."""
        return PodAdmin(pod.admin_url)

    def settle(self, pod_name: str | None = None) -> None:
        """Wait until the index has everything that the pods, or this one, published."""
        settle(self.cluster, pod_name)

    def holders(
        self, model: str, tokens: Tokens, *, lora: str = "", salt: str | None = None
    ) -> dict[str, int]:
        """Verify the index, then return how many blocks of a prompt it says that each pod holds."""
        self.verify(at_least=0)
        return dict(
            self.view.lookup(LookupPrompt(model=model, lora=lora, salt=salt, token_ids=tokens)).matched
        )

    def verify(self, *, timeout_s: float = CONVERGENCE_S, at_least: int = 1) -> Comparison:
        """Compare the index with the pods at rest; see `quiesce.verify`."""
        return verify(self.cluster, self.history, seed=self.seed, timeout_s=timeout_s, at_least=at_least)


def by_pod(answers: Sequence[Answer]) -> Mapping[str, int]:
    """Count answers by the pod that gave them."""
    pods = [answer.pod for answer in answers]
    return {pod: pods.count(pod) for pod in sorted(set(pods))}
