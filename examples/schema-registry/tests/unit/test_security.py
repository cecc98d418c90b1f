"""Tokens, roles and names."""

import pytest

from registry.errors import BadRequest, NotAllowed
from registry.security import OPEN, ROLES, Access, Role, require_metadata, require_subject

READER, WRITER, ADMIN = "r" * 16, "w" * 16, "a" * 16
ACCESS = Access.parse(f"reader={READER}, writer={WRITER},admin={ADMIN}")


@pytest.mark.parametrize(
    ("token", "allowed"), [(READER, 1), (WRITER, 2), (ADMIN, 3)], ids=["reader", "writer", "admin"]
)
def test_a_role_may_do_what_lesser_roles_may(token: str, allowed: int) -> None:
    """And nothing more."""
    for role in ROLES[:allowed]:
        ACCESS.require(role, f"Bearer {token}")
    for role in ROLES[allowed:]:
        with pytest.raises(NotAllowed, match="this needs the role") as caught:
            ACCESS.require(role, f"bearer {token}")
        assert caught.value.status == 403


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer x", f"Basic {ADMIN}", ADMIN, "Bearer \udcff"])
def test_without_a_known_token_nothing_is_allowed(header: str) -> None:
    """The answer is 401."""
    with pytest.raises(NotAllowed) as caught:
        ACCESS.require("reader", header)
    assert caught.value.status == 401


def test_without_tokens_everything_is_allowed() -> None:
    """As on a developer's machine."""
    for access in (OPEN, Access.parse("")):
        access.require("admin", "")


@pytest.mark.parametrize("text", ["admin", "root=" + "x" * 20, "admin=short", f"admin={ADMIN},=x"])
def test_malformed_tokens_are_refused_without_repeating_them(text: str) -> None:
    """Errors end up in logs."""
    with pytest.raises(ValueError, match="write ROLE=TOKEN") as caught:
        Access.parse(text)
    assert "xxxx" not in str(caught.value)
    assert ADMIN not in str(caught.value)


@pytest.mark.parametrize("name", ["orders", "Orders-v2", "a.b_c-d", "0", "x" * 128])
def test_subjects(name: str) -> None:
    """Letters, digits and . _ -."""
    assert require_subject(name) == name


@pytest.mark.parametrize("name", ["", ".", "-a", "a/b", "a b", "a\n", "ä", "x" * 129, None, 1, "a:b", "../a"])
def test_other_names_are_refused(name: object) -> None:
    """They would not be what they seem in a path, a key or an object's name."""
    with pytest.raises(BadRequest, match="not a subject"):
        require_subject(name)


def test_metadata_are_a_small_object() -> None:
    """Nothing else."""
    assert require_metadata({"team": "a"}) == {"team": "a"}
    for given in ([], "a", None, {"a": "x" * 20_000}):
        with pytest.raises(BadRequest, match="metadata"):
            require_metadata(given)


def test_roles_are_in_order() -> None:
    """From least to most."""
    least: Role = "reader"
    assert ROLES[0] == least
