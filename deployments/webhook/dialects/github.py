"""What GitHub sends: https://docs.github.com/en/webhooks. Its shapes are those of our events."""

from functools import partial

from starlette.datastructures import Headers

from deployments.webhook.dialects.dialect import Dialect, is_once, signature
from deployments.webhook.payload import EVENTS, parse


def _is_signed(headers: Headers, body: bytes, secret: str, _: float) -> bool:
    return is_once(headers, "x-hub-signature-256", f"sha256={signature(body, secret)}")


GITHUB = Dialect(
    marks=("X-GitHub-Event",),
    ids=("X-GitHub-Delivery",),
    is_signed=_is_signed,
    proof="X-Hub-Signature-256 does not match the body and our secret",
    events={name: (name, partial(parse, name)) for name in EVENTS},
    ping="ping",
)
