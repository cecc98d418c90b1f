"""What may be called what."""

from uuid import UUID

import pytest

from objectstore.errors import Invalid, UnsupportedType
from objectstore.names import chunk_id, chunk_of, content_type, file_name, server_id


@pytest.mark.parametrize("name", ["a", "report 2026.pdf", "x" * 255, "0_-."])
def test_file_names(name: str) -> None:
    """Letters, digits and a few signs make a name."""
    assert file_name(name) == name


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "a/b", "a\\b", "a\n", "ä", "x" * 256])
def test_wrong_file_names(name: str) -> None:
    """What could be a path or cannot be seen is not a name."""
    with pytest.raises(Invalid, match="is not a file name"):
        file_name(name)


@pytest.mark.parametrize("name", ["", "Storage", "a_b", "-a", "x" * 64])
def test_wrong_server_ids(name: str) -> None:
    """A server is called as a host is."""
    with pytest.raises(Invalid, match="is not a server id"):
        server_id(name)


def test_chunk_ids() -> None:
    """The id of every chunk of an object is one that storage servers take."""
    name = chunk_of(UUID(int=7), 2559)

    assert name == "00000000000000000000000000000007-2559"
    assert chunk_id(name) == name


@pytest.mark.parametrize(
    "given", ["text/plain", "application/vnd.api+json", "text/plain; charset=utf-8", 'a/b; c="d e"; f=g']
)
def test_content_types(given: str) -> None:
    """A type, a subtype and parameters."""
    assert content_type(given) == given


def test_no_content_type_is_octets() -> None:
    """What does not say what it is is bytes."""
    assert content_type(None) == "application/octet-stream"


@pytest.mark.parametrize(
    "given", ["", "text", "text/", "/plain", "a/b/c", "a b/c", "a/b;", "a/b; c", 'a/b; c="']
)
def test_wrong_content_types(given: str) -> None:
    """Anything else is refused."""
    with pytest.raises(UnsupportedType, match="is not a content type"):
        content_type(given)
