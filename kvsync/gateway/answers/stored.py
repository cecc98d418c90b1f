"""Which pod keeps which response, for those who ask for it again or go on with it.

An engine keeps its responses to itself (vLLM with VLLM_ENABLE_RESPONSES_API_STORE), so what is asked of one
later is for the pod that gave it. The gateway remembers the last ones that it passed on.
"""

import re
from collections import OrderedDict

HEAD_BYTES = 4096
"""How much of an answer's beginning is searched for its id, which engines write first."""

_ID = re.compile(rb'"id"\s*:\s*"(resp_[\w-]{1,200})"')


class StoredResponses:
    """The pods of the last `most` responses, by id."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._pods: OrderedDict[str, str] = OrderedDict()

    def note(self, head: bytes, pod: str) -> bool:
        """Remember the response of which this is the beginning; False if it does not tell its id."""
        found = _ID.search(head)
        if found is None:
            return False
        name = found[1].decode()
        self._pods[name] = pod
        self._pods.move_to_end(name)
        while len(self._pods) > self._most:
            self._pods.popitem(last=False)
        return True

    def pod_of(self, response: str) -> str | None:
        """Return the name of the pod that gave a response, if it is remembered."""
        return self._pods.get(response)
