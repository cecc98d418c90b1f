"""Whose key it is, and which keys are refused."""

from pathlib import Path

import pytest

from kvsync.access.keys import MOST, KeyRing, read_keys
from kvsync.errors import ConfigError

ALICE, BOB, EVE = "alice-0123456789", "bob-0123456789ab", "eve-0123456789ab"


def test_a_key_tells_its_name() -> None:
    """Keys given and keys of a file are of one ring; other texts have no name."""
    ring = KeyRing({"alice": ALICE, "bob": BOB})

    assert [ring.name_of(key.encode()) for key in (ALICE, BOB, EVE, "", ALICE[:-1])] == [
        "alice",
        "bob",
        None,
        None,
        None,
    ]
    assert ring.name_of(b"\xff" * 16) is None


@pytest.mark.parametrize("name", ["keys.yaml", "keys"])
def test_a_file_is_read_again(tmp_path: Path, name: str) -> None:
    """Keys come and go with its content; while it is wrong, those that it had stay."""
    file = tmp_path / name
    file.write_text(f"alice: {ALICE}\n")
    ring = KeyRing({"eve": EVE}, file)

    file.write_text(f"bob: {BOB}\n")
    ring.read()
    assert [ring.name_of(key.encode()) for key in (ALICE, BOB, EVE)] == [None, "bob", "eve"]
    file.write_text("bob: short\n")
    with pytest.raises(ConfigError):
        ring.read()
    assert ring.name_of(BOB.encode()) == "bob"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("alice: shortsecret\n", "the key of 'alice' must be at least 16 printable ASCII characters"),
        (
            'alice: "secret with\\ta tab"\n',
            "the key of 'alice' must be at least 16 printable ASCII characters",
        ),
        (f"alice: {ALICE}\nbob: {ALICE}\n", "two names have the same key"),
        ("alice: 1234567890123456\n", "alice: input should be a valid string"),
        ("a b: secret-0123456789\n", "a b.[key]: string should match pattern '^[\\w.-]{1,63}$'"),
        (f"unknown: {ALICE}\n", "no key can be named 'unknown': it stands for requests without one"),
        ("- secret-0123456789\n", ".: input should be a valid dictionary"),
        ("alice: secret-0123\n : [", "is not a mapping of names to keys"),
        (
            "".join(f"n{n}: secret-0123456789-{n}\n" for n in range(MOST + 1)),
            f"there are more than {MOST} keys",
        ),
    ],
    ids=["short", "tab", "twice", "a number", "name", "reserved", "a list", "no YAML", "too many"],
)
def test_a_wrong_file_is_refused_without_showing_a_key(tmp_path: Path, text: str, problem: str) -> None:
    """The message names the file and the client."""
    file = tmp_path / "keys.yaml"
    file.write_text(text)

    with pytest.raises(ConfigError) as raised:
        read_keys(file)

    assert raised.value.problems == (problem,)
    assert str(file) in str(raised.value)
    assert "secret" not in str(raised.value)
    assert "123456" not in str(raised.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """The gateway does not start without keys that it was told to ask for."""
    with pytest.raises(ConfigError, match=r"client keys in .*absent: 1 problem\ncannot be read"):
        KeyRing({}, tmp_path / "absent")


def test_names_are_unique_among_settings_and_file(tmp_path: Path) -> None:
    """Of two keys for one name it would be unclear which counts."""
    file = tmp_path / "keys"
    file.write_text(f"alice: {BOB}\n")

    with pytest.raises(ConfigError, match=r"a name is among access.keys, too"):
        KeyRing({"alice": ALICE}, file)
