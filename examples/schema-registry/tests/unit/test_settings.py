"""What the registry is told where it starts."""

import pytest

from registry.settings import VARIABLES, read_settings

GIVEN = {variable: f"value of {name}" for name, variable in VARIABLES.items()}


def test_settings_are_read() -> None:
    """Whole numbers stay whole."""
    settings = read_settings({**GIVEN, "REGISTRY_MEMORY_TTL": "0.5", "REGISTRY_WARM": "3"})
    assert (settings.redis_url, settings.memory_ttl_s, settings.warm) == ("value of redis_url", 0.5, 3)
    assert read_settings(GIVEN).breaker_failures == 5


def test_every_problem_is_told_at_once() -> None:
    """With the variables' names."""
    with pytest.raises(
        ValueError, match=r"DATABASE_URL is not set; .*CACHE_URL is not set; .*REGISTRY_WARM='many'"
    ):
        read_settings({"REGISTRY_WARM": "many"})


@pytest.mark.parametrize("number", ["-1", "nan", "inf", "1e9", ""])
def test_numbers_have_bounds(number: str) -> None:
    """No time is negative or endless."""
    with pytest.raises(ValueError, match="REGISTRY_MEMORY_TTL"):
        read_settings({**GIVEN, "REGISTRY_MEMORY_TTL": number})


def test_secrets_are_not_shown() -> None:
    """Settings may end up in logs."""
    assert "value of s3_secret_key" not in repr(read_settings(GIVEN))
    assert "value of database_url" not in repr(read_settings(GIVEN))
