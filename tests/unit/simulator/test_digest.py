"""Block digests are vLLM's; the expected ones were made with cbor2 5.6.5 and hashlib."""

import pytest

from kvsync.simulator.digest import as_int, block_digest, root_digest

ROOT = "4e1195df020de59e0d65a33a4279f1183e7ae4e5d980e309f8b55adff2e61c3e"
FIRST = "c9d58ba695280d69b243e1e0df813136ca9196b286fb1a021e0b2e028ef071cb"


def test_root_is_the_hash_of_the_seed_as_text() -> None:
    """The root is sha256(dumps("0")), vLLM's NONE_HASH with PYTHONHASHSEED=0."""
    assert root_digest(0).hex() == ROOT


@pytest.mark.parametrize(
    ("parent", "tokens", "extra", "expected"),
    [
        pytest.param(ROOT, (1, 2, 3, 4), None, FIRST, id="first block"),
        pytest.param(
            FIRST,
            (5, 300, 70000, 4294967295),
            ("sql", "tenant-a"),
            "3a9ccc53d1ed1017eb4307834c0b400f1e7055daa35853cbe60b44bb7bcc8304",
            id="every width of integer, two extra keys",
        ),
        pytest.param(
            ROOT,
            tuple(range(16)),
            ("sql",),
            "c47d065ead7e12c121b2efed30c53dd468be7ca483f5031179529c3e3e893a7a",
            id="sixteen tokens",
        ),
    ],
)
def test_digest_is_sha256_of_canonical_cbor(
    parent: str, tokens: tuple[int, ...], extra: tuple[str, ...] | None, expected: str
) -> None:
    """A digest is sha256(dumps((parent, tokens, extra), canonical=True))."""
    assert block_digest(bytes.fromhex(parent), tokens, extra).hex() == expected


def test_integer_form_is_the_low_64_bits() -> None:
    """Published as an integer, a digest is its last eight bytes."""
    assert as_int(bytes.fromhex(FIRST)) == 0x1E0B2E028EF071CB
