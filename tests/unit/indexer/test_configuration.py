"""A gateway hands its configuration to the indexer that it starts."""

import pytest

from kvsync.config import GatewayConfig
from kvsync.errors import ConfigError
from kvsync.indexer.program import read_config, written
from kvsync.pods import Pod


def test_a_configuration_arrives_with_its_secrets() -> None:
    """What the indexer reads is what the gateway has."""
    config = GatewayConfig.model_validate(
        {
            "pods": [Pod(name="a", model="m", host="h"), Pod(name="b", model="m", host="h", port=8001)],
            "upstream": {"api_key": "key"},
            "snapshots": {"folder": "/var/lib/kvsync", "take_key": "other"},
            "indexer": {"mode": "process"},
        }
    )

    line = written(config)

    assert (line.count(b"\n"), line[-1:]) == (1, b"\n")
    assert read_config(line) == config


def test_what_is_no_configuration_is_refused() -> None:
    """By name."""
    with pytest.raises(ConfigError, match="standard input"):
        read_config(b"{}\n")


@pytest.mark.parametrize("socket", ["indexer.sock", "@", "/" + "x" * 200])
def test_a_socket_that_gateways_would_not_find_is_refused(socket: str) -> None:
    """With what is needed in its place."""
    with pytest.raises(ValueError, match="a path from / on, or @ and a name"):
        GatewayConfig.model_validate(
            {"pods": [Pod(name="a", model="m", host="h")], "indexer": {"socket": socket}}
        )


def test_sharing_needs_a_socket() -> None:
    """Gateways that share an indexer have to know where it is."""
    with pytest.raises(ValueError, match=r"is needed by indexer\.mode 'shared'"):
        GatewayConfig.model_validate(
            {"pods": [Pod(name="a", model="m", host="h")], "indexer": {"mode": "shared"}}
        )
