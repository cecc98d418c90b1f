"""docs/configuration.md is what the model says today, and a gateway takes it."""

import re
from pathlib import Path

from docs.scripts.configuration import PAGE, configuration, page
from kvsync.config import GatewayConfig, KubernetesConfig, load_gateway_config
from kvsync.pods import Pod

POD = Pod(name="NAME", model="MODEL", host="HOST")


def test_the_configuration_is_up_to_date() -> None:
    """`python docs/scripts/configuration.py --write` brings it there."""
    assert PAGE.read_text(encoding="utf-8") == page()


def test_the_configuration_is_that_without_any(tmp_path: Path) -> None:
    """A gateway that gets all of it behaves as one that gets only its pods."""
    file = tmp_path / "gateway.yaml"
    shown = configuration()
    file.write_text(re.sub(r"^pods: \[\]\n((?:# .*\n)+?)(?=# pods_file)", uncommented, shown, flags=re.M))

    assert load_gateway_config(file, {}) == GatewayConfig(pods=(POD,))


def test_a_block_that_is_left_out_can_be_taken_in(tmp_path: Path) -> None:
    """Without `# ` at its beginning each line of `kubernetes` is YAML, with the defaults as they are."""
    file = tmp_path / "gateway.yaml"
    (block,) = re.findall(r"^# kubernetes:\n(?:#.*\n)+?(?=# block_size)", configuration(), flags=re.M)
    file.write_text(re.sub(r"^# ?", "", block, flags=re.M))

    config = load_gateway_config(file, {})

    assert config.kubernetes == KubernetesConfig()


def uncommented(found: "re.Match[str]") -> str:
    """Take in the list of pods that is commented out."""
    return "pods:\n" + re.sub(r"^# ", "", found[1], flags=re.M)
