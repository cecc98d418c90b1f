"""What can be set about access, and what is refused."""

import pytest

from kvsync.config import load_gateway_config
from kvsync.errors import ConfigError

PODS = {"KVSYNC_PODS_FILE": "pods.yaml"}


def test_a_key_in_the_environment_has_its_name_from_it() -> None:
    """Containers get keys as variables; they are never shown."""
    key = "alice-0123456789"

    config = load_gateway_config(None, PODS | {"KVSYNC_ACCESS__KEYS__ALICE": key})

    assert config.access.keys["alice"].get_secret_value() == key
    assert key not in repr(config)


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        ({"ACCESS__KEYS": "{alice: 1234567890123456}"}, "access.keys.alice: must be text: put it in quotes"),
        ({"ACCESS__KEYS__ALICE": "secret"}, "access: the key of 'alice' must be at least 16 printable ASCII"),
        ({"UPSTREAM__TLS__KEY": "tls.key"}, "upstream.tls: certificate and key are needed together"),
        ({"ACCESS__TLS__KEY": "tls.key"}, "access.tls.certificate: is missing"),
        (
            {"KUBERNETES": "{namespace: a, namespaces: [b]}", "PODS_FILE": ""},
            "kubernetes.namespaces: give namespace or namespaces",
        ),
        (
            {"KUBERNETES__DEFAULTS__REPLAY_PORT": "5557", "PODS_FILE": ""},
            "kubernetes.defaults.replay_port: 5557 is event_port, too",
        ),
    ],
    ids=["a number", "short", "half a pair", "half of ours", "two ways", "one port"],
)
def test_what_cannot_work_is_refused(variables: dict[str, str], problem: str) -> None:
    """Each problem names its field, and no key is shown."""
    environ = PODS | {f"KVSYNC_{name}": text for name, text in variables.items()}

    with pytest.raises(ConfigError) as raised:
        load_gateway_config(None, environ)

    assert [text.startswith(problem) for text in raised.value.problems] == [True]
    assert not any(secret in str(raised.value) for secret in ("1234567890123456", "secret"))
