"""What the registry is told by its surroundings: read once, where it starts."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Where the levels are, and how long they keep things. Times are in seconds."""

    database_url: str = field(repr=False)
    redis_url: str = field(repr=False)
    s3_url: str
    s3_bucket: str
    s3_access_key: str
    s3_secret_key: str = field(repr=False)
    tokens: str = field(default="", repr=False)
    memory_ttl_s: float = 30.0
    redis_ttl_s: float = 3600.0
    redis_timeout_s: float = 0.5
    s3_timeout_s: float = 2.0
    database_timeout_s: float = 2.0
    breaker_failures: int = 5
    breaker_pause_s: float = 2.0
    warm: int = 1000


VARIABLES = {
    "database_url": "DATABASE_URL",
    "redis_url": "CACHE_URL",
    "s3_url": "OBJECTS_URL",
    "s3_bucket": "OBJECTS_BUCKET",
    "s3_access_key": "OBJECTS_ACCESS_KEY",
    "s3_secret_key": "OBJECTS_SECRET_KEY",
    "tokens": "REGISTRY_TOKENS",
}
NUMBERS = {
    "memory_ttl_s": "REGISTRY_MEMORY_TTL",
    "redis_ttl_s": "REGISTRY_REDIS_TTL",
    "redis_timeout_s": "REGISTRY_REDIS_TIMEOUT",
    "s3_timeout_s": "REGISTRY_S3_TIMEOUT",
    "database_timeout_s": "REGISTRY_DATABASE_TIMEOUT",
    "breaker_pause_s": "REGISTRY_BREAKER_PAUSE",
    "breaker_failures": "REGISTRY_BREAKER_FAILURES",
    "warm": "REGISTRY_WARM",
}
WHOLE = ("breaker_failures", "warm")


def read_settings(environ: Mapping[str, str]) -> Settings:
    """Read the variables. Raises ValueError with everything that is missing or wrong."""
    problems: list[str] = []
    texts = {name: environ.get(variable, "") for name, variable in VARIABLES.items()}
    problems += [
        f"{VARIABLES[name]} is not set" for name, text in texts.items() if not text and name != "tokens"
    ]
    numbers: dict[str, float] = {}
    for name, variable in NUMBERS.items():
        if (text := environ.get(variable)) is not None:
            try:
                number = int(text) if name in WHOLE else float(text)
            except ValueError:
                number = -1
            if not 0 <= number < 1e6:
                problems.append(f"{variable}={text!r} is not a number from 0 to a million")
            numbers[name] = number
    if problems:
        raise ValueError("; ".join(problems))
    return Settings(**texts, **numbers)  # type: ignore[arg-type]  # the names of whole numbers have whole ones
