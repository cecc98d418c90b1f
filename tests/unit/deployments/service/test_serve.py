"""What serve starts, with which environment, and what it refuses to."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from deployments.service.serve import Services, receiver_at, require_safe, surroundings
from kvsync.ci.settings import ServeSettings, Settings, WebhookSettings
from kvsync.errors import ConfigError


@pytest.mark.parametrize(
    ("image", "names"), [("", ["worker", "caretaker", "reports"]), ("pipeline:1", ["caretaker", "reports"])]
)
def test_containers_are_started_by_a_worker_elsewhere(image: str, names: list[str]) -> None:
    """Prefect lets a worker of processes take runs from a pool of containers, so there is none."""
    services = Services(Path("r"), Settings(serve=ServeSettings(image=image)), {"PREFECT_HOME": "/h"})

    assert [each.name for each in services.others()] == names


def test_an_own_server_is_where_all_look_for_it() -> None:
    """Its database is in the report folder, a browser finds it, and only the receiver knows its secret."""
    given = {"PATH": "/bin", "KVSYNC_CI_WEBHOOK_SECRET": "s3cret", "PREFECT_API_AUTH_STRING": "a:b"}
    env = surroundings(Path("/r"), ServeSettings(host="0.0.0.0", port=1234), given)  # noqa: S104

    assert env["PREFECT_HOME"] == "/r/.prefect"
    assert env["PREFECT_API_URL"] == "http://127.0.0.1:1234/api"
    assert env["PREFECT_UI_URL"] == "http://127.0.0.1:1234"
    assert env["PREFECT_SERVER_ALLOW_EPHEMERAL_MODE"] == "false"
    assert env["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert env["PREFECT_API_AUTH_STRING"] == "a:b"
    assert "s3cret" not in env.values()


def test_each_service_gets_the_secrets_that_it_needs() -> None:
    """The server its password and its database's, the receiver the webhook's, and all of them the API's."""
    database, secret = "PREFECT_SERVER_DATABASE_CONNECTION_URL", "KVSYNC_CI_WEBHOOK_SECRET"
    given = {database: "postgresql+asyncpg://me:s3cret@db/p", secret: "w", "PREFECT_API_AUTH_STRING": "a:b"}
    settings = Settings(webhook=WebhookSettings(secret=SecretStr("w")))
    services = Services(Path("/r"), settings, surroundings(Path("/r"), settings.serve, given))

    known = {each.name: each.env for each in [services.server(), *services.others()]}

    assert [name for name, env in known.items() if database in env] == ["server"]
    assert [name for name, env in known.items() if secret in env] == ["receiver"]
    assert all("PREFECT_API_AUTH_STRING" in env for env in known.values())
    assert [word for each in services.others() for word in each.argv if "s3cret" in word] == []


@pytest.mark.parametrize(
    ("given", "seen_at"),
    [
        ({}, "http://127.0.0.1:4200/api"),
        ({"PREFECT_UI_API_URL": "https://ci.example/api"}, "https://ci.example/api"),
        ({"PREFECT_SERVER_UI_API_URL": "https://ci.example/api"}, "https://ci.example/api"),
        ({"PREFECT_UI_URL": "https://ci.example/"}, "https://ci.example/api"),
    ],
)
def test_a_browser_elsewhere_finds_the_api(given: dict[str, str], seen_at: str) -> None:
    """By any name that Prefect has for the address, or beside the UI; services use this machine's."""
    env = surroundings(Path("/r"), ServeSettings(), given)

    assert (env["PREFECT_SERVER_UI_API_URL"], env["PREFECT_API_URL"]) == (
        seen_at,
        "http://127.0.0.1:4200/api",
    )


def test_a_server_that_is_there_is_used() -> None:
    """Its address is left alone, and nothing is said of a UI."""
    env = surroundings(Path("/r"), ServeSettings(), {"PREFECT_API_URL": "http://there:4200/api"})

    assert env["PREFECT_API_URL"] == "http://there:4200/api"
    assert "PREFECT_UI_URL" not in env


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_loopback_needs_no_password(host: str) -> None:
    """Only this machine reaches it."""
    require_safe(ServeSettings(host=host), {})


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.2", "ci.example.com"])  # noqa: S104
def test_an_address_that_others_reach_needs_a_password(host: str) -> None:
    """Any client that reaches the server can run commands."""
    with pytest.raises(ConfigError, match="PREFECT_API_AUTH_STRING"):
        require_safe(ServeSettings(host=host), {})

    require_safe(ServeSettings(host=host), {"PREFECT_API_AUTH_STRING": "user:password"})


def test_webhooks_go_where_the_documents_say() -> None:
    """One address for every server."""
    assert receiver_at(Settings(webhook=WebhookSettings(port=4290))) == "http://127.0.0.1:4290/webhook"
