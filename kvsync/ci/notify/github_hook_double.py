"""A double of a GitHub webhook: it sends deliveries, signed, and keeps how each was answered."""

import hashlib
import hmac
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count

import httpx

TIMEOUT_S = 10.0
"""GitHub's, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HookAttempt:
    """An attempt to hand a delivery over: `status` is what was answered, 0 for nothing."""

    id: int
    guid: str
    event: str
    body: bytes
    status: int
    redelivery: bool
    at: datetime

    def to_json(self) -> dict[str, object]:
        """Return it as GitHub lists it."""
        return {
            "id": self.id,
            "guid": self.guid,
            "delivered_at": f"{self.at:%Y-%m-%dT%H:%M:%SZ}",
            "redelivery": self.redelivery,
            "duration": 0.1,
            "status": "OK" if self.status == httpx.codes.OK else "failed to connect to host",
            "status_code": self.status,
            "event": self.event,
            "action": json.loads(self.body).get("action"),
        }


@dataclass(slots=True, kw_only=True)
class FakeHook:
    """A webhook that sends to a URL. `attempts` has every one, in order."""

    id: int
    url: str
    secret: str
    active: bool = True
    attempts: list[HookAttempt] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=lambda: count(1000))

    def send(
        self, event: str, document: Mapping[str, object], guid: str, *, at: datetime | None = None
    ) -> int:
        """Deliver an event; returns what was answered, 0 for nothing. `at`: when that is said to be."""
        return self._attempt(event, json.dumps(document).encode(), guid, at=at)

    def send_again(self, attempt: int) -> None:
        """Deliver what an earlier attempt was about once more, under the same id."""
        each = self.attempt(attempt)
        if each:
            self._attempt(each.event, each.body, each.guid, redelivery=True)

    def attempt(self, wanted: int) -> HookAttempt | None:
        """Return an attempt by its id."""
        return next((each for each in self.attempts if each.id == wanted), None)

    def to_json(self) -> dict[str, object]:
        """Return it as GitHub lists it."""
        config = {"url": self.url, "content_type": "json", "secret": "********", "insecure_ssl": "0"}
        return {"id": self.id, "name": "web", "active": self.active, "events": ["*"], "config": config}

    def _attempt(
        self, event: str, body: bytes, guid: str, *, redelivery: bool = False, at: datetime | None = None
    ) -> int:
        signature = hmac.new(self.secret.encode(), body, hashlib.sha256).hexdigest()
        headers = {
            "Content-Type": "application/json",
            "X-GitHub-Event": event,
            "X-GitHub-Delivery": guid,
            "X-GitHub-Hook-ID": str(self.id),
            "X-Hub-Signature-256": f"sha256={signature}",
        }
        try:
            status = httpx.post(self.url, content=body, headers=headers, timeout=TIMEOUT_S).status_code
        except httpx.TransportError:
            status = 0
        self.attempts.append(
            HookAttempt(
                id=next(self._numbers),
                guid=guid,
                event=event,
                body=body,
                status=status,
                redelivery=redelivery,
                at=at or datetime.now(UTC),
            )
        )
        return status
