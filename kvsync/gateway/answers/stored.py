"""Which pod keeps which response, for those who ask for it again or go on with it.

An engine keeps its responses to itself (vLLM with VLLM_ENABLE_RESPONSES_API_STORE), so what is asked of one
later is for the pod that gave it. The gateway remembers the last ones that it passed on, and for whom: where
clients have keys of the gateway, a response is known to the client alone that it was for.
"""

import re
from collections import OrderedDict

HEAD_BYTES = 4096
"""How much of an answer's beginning is searched for its id, which engines write first."""

_ID = re.compile(rb'"id"\s*:\s*"(resp_[\w-]{1,200})"')


class StoredResponses:
    """The pods and clients of the last `most` responses, by id; a client is the name of its key, or ""."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._given: OrderedDict[str, tuple[str, str]] = OrderedDict()

    def note(self, head: bytes, pod: str, client: str = "") -> bool:
        """Remember the response of which this is the beginning; False if it does not tell its id."""
        found = _ID.search(head)
        if found is None:
            return False
        name = found[1].decode()
        self._given[name] = (pod, client)
        self._given.move_to_end(name)
        while len(self._given) > self._most:
            self._given.popitem(last=False)
        return True

    def pod_of(self, response: str, client: str = "") -> str | None:
        """Return the name of the pod that gave a client this response, if it is remembered."""
        pod, owner = self._given.get(response, (None, client))
        return pod if owner == client else None

    def is_anothers(self, response: str, client: str = "") -> bool:
        """Say whether a response was given to another client."""
        return self._given.get(response, ("", client))[1] != client
