"""What the process of a stage inherits: nothing secret, and of an untrusted commit only the harmless."""

from collections.abc import Iterator

import pytest
from pydantic import BaseModel, SecretStr

from kvsync.ci.settings import PREFIX, RepositorySettings, Settings
from kvsync.ci.stages.environment import kept_back, secrets_apart, stage_environment

HARMLESS = {
    "PATH": "/usr/bin:/bin",
    "HOME": "/home/ci",
    "LANG": "C.UTF-8",
    "LC_ALL": "C.UTF-8",
    "TMPDIR": "/tmp/ci",  # noqa: S108 - a value that is never used
    "PYTHONPATH": "/work",
    "VIRTUAL_ENV": "/venv",
}

OURS = {
    "KUBECONFIG": "/home/ci/.kube/config",
    "DOCKER_HOST": "unix:///run/docker.sock",
    "PWD": "/work",
    "KVSYNC_CI_TEST_KUBECONFIG": "/srv/kubeconfig",
    "KVSYNC_TOKENIZER_ENDPOINT": "http://127.0.0.1:9000",
    "TOKENIZERS_PARALLELISM": "false",
}


def secret_settings() -> Iterator[str]:
    """Name the variable of every setting that is a secret."""
    tables = {name: field for name, field in Settings.model_fields.items() if name != "repositories"}
    for table, part in tables.items():
        assert isinstance(part.annotation, type)
        assert issubclass(part.annotation, BaseModel)
        for name, field in part.annotation.model_fields.items():
            if field.annotation is SecretStr:
                yield f"{PREFIX}{table}_{name}".upper()


def test_what_is_said_of_a_repository_is_no_secret() -> None:
    """Its table has any name, so no variable could be kept back."""
    assert SecretStr not in {field.annotation for field in RepositorySettings.model_fields.values()}


SECRETS = [
    *secret_settings(),
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_PROFILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "PREFECT_API_AUTH_STRING",
    "PREFECT_API_KEY",
    "PREFECT_SERVER_API_AUTH_STRING",
    "PREFECT_CLIENT_CUSTOM_HEADERS",
    "GITHUB_TOKEN",
    "GH_TOKEN",
    "GITHUB_PAT",
    "PGPASSWORD",
    "MYSQL_PWD",
    "SSH_AUTH_SOCK",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "OPENAI_API_KEY",
    "openai_api_key",
]


def test_the_settings_have_secrets() -> None:
    """So that the test of each of them tests something."""
    assert {"KVSYNC_CI_GITHUB_TOKEN", "KVSYNC_CI_WEBHOOK_SECRET"} < set(secret_settings())


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_is_not_inherited(name: str) -> None:
    """No matter who wrote the tests."""
    assert stage_environment({name: "s3cret"}, trusted=True) == {}
    assert stage_environment({name: "s3cret"}, trusted=False) == {}


@pytest.mark.parametrize(
    "value", ["postgresql://ci:s3cret@db/prefect", "http://ci:s3cret@proxy:3128", "x redis://:s3cret@cache y"]
)
def test_a_password_in_a_url_is_a_secret(value: str) -> None:
    """Whatever the variable is called."""
    assert stage_environment({"ANYTHING": value, "PYTHONPATH": value}, trusted=True) == {}
    assert stage_environment({"ANYTHING": value, "PYTHONPATH": value}, trusted=False) == {}


def test_a_trusted_commit_gets_the_rest() -> None:
    """Its tests use our cluster and our machine."""
    assert stage_environment(HARMLESS | OURS, trusted=True) == HARMLESS | OURS


def test_an_untrusted_commit_gets_what_every_program_needs() -> None:
    """An unforeseen variable is not given to a fork."""
    assert stage_environment(HARMLESS | OURS | {"UNHEARD_OF": "1"}, trusted=False) == HARMLESS


def test_no_stage_gets_what_the_pipeline_itself_runs_with() -> None:
    """Tests of something that uses Prefect would find the run's server and write into its folder."""
    ours = {"PREFECT_HOME": "/reports/.prefect", "PREFECT_API_URL": "http://127.0.0.1:4200/api"}

    assert stage_environment(HARMLESS | ours, trusted=True) == HARMLESS


def test_what_a_stage_may_miss_is_named_without_what_is_the_pipelines() -> None:
    """Prefect's settings have nothing to do with a test of a database that fails."""
    given = HARMLESS | {"DATABASE_URL": "postgresql://ci:s3cret@db/shop", "PREFECT_HOME": "/reports/.prefect"}

    assert kept_back(given, stage_environment(given, trusted=True)) == ("DATABASE_URL",)


def test_git_gets_no_secret_but_what_reaches_a_server() -> None:
    """A proxy's password is in its URL; what is kept apart is handed over in another way."""
    reaching = {"https_proxy": "http://ci:s3cret@proxy:3128", "SSH_AUTH_SOCK": "/run/agent"}
    secret = {"KVSYNC_CI_GITHUB_TOKEN": "t", "DATABASE": "postgresql://ci:s3cret@db/prefect"}

    assert secrets_apart(HARMLESS | OURS | reaching | secret) == (HARMLESS | OURS | reaching, secret)


def test_what_the_owner_passes() -> None:
    """A listed variable reaches the tests though it is a secret; those of a fork only if it is none."""
    given = {"DATABASE_URL": "postgres://u:p@h/d", "FLAVOUR": "sour", "CI_TOKEN": "s3cret", "HOME": "/h"}
    passed = ("DATABASE_URL", "FLAV*")

    assert stage_environment(given, trusted=True, passed=passed).keys() == given.keys() - {"CI_TOKEN"}
    assert stage_environment(given, trusted=False, passed=passed).keys() == {"FLAVOUR", "HOME"}
