"""Tokens and roles: a reader reads, a writer registers and deletes too, an admin does everything."""

import hmac
from collections.abc import Mapping
from hashlib import sha256
from typing import Literal, get_args

from registry.errors import NotAllowed

Role = Literal["reader", "writer", "admin"]

ROLES: tuple[Role, ...] = get_args(Role)

SHORTEST = 16


class Access:
    """Knows tokens by their digests only; without tokens, everybody is an admin."""

    def __init__(self, tokens: Mapping[str, Role]) -> None:
        self._roles = {_digest(token): role for token, role in tokens.items()}

    @classmethod
    def parse(cls, text: str) -> "Access":
        """Read "reader=TOKEN,admin=TOKEN". Raises ValueError, which does not repeat a token."""
        tokens: dict[str, Role] = {}
        for number, pair in enumerate(filter(None, text.split(",")), start=1):
            name, _, token = pair.strip().partition("=")
            role = next((each for each in ROLES if each == name), None)
            if role is None or len(token) < SHORTEST:
                raise ValueError(
                    f"token {number}: write ROLE=TOKEN with a role of {', '.join(ROLES)} "
                    f"and at least {SHORTEST} characters"
                )
            tokens[token] = role
        return cls(tokens)

    def require(self, role: Role, authorization: str) -> None:
        """Raise NotAllowed unless a header `Authorization: Bearer TOKEN` is good for a role."""
        if not self._roles:
            return
        scheme, _, token = authorization.partition(" ")
        has = self._role(token.strip()) if scheme.lower() == "bearer" else None
        if has is None:
            raise NotAllowed("a token is needed: Authorization: Bearer TOKEN", 401)
        if ROLES.index(has) < ROLES.index(role):
            raise NotAllowed(f"this needs the role {role}, and the token has the role {has}", 403)

    def _role(self, token: str) -> Role | None:
        given = _digest(token)
        # All are compared, so that the time says nothing about where one differs.
        found = [role for known, role in self._roles.items() if hmac.compare_digest(known, given)]
        return found[0] if found else None


def _digest(token: str) -> bytes:
    return sha256(token.encode(errors="surrogateescape")).digest()


OPEN = Access({})
"""For everybody."""
