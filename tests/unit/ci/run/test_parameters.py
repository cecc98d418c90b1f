"""What a run is asked to do."""

import re
import traceback

import pytest

from kvsync.ci.run.parameters import REPOSITORY, CommitSource, Parameters, matrix
from kvsync.errors import ConfigError

COMMIT = "a" * 40


def test_every_problem_is_told_at_once() -> None:
    """No name of a stage, an unknown cluster and a missing trace come in one message, with what is valid."""
    with pytest.raises(ConfigError) as raised:
        Parameters.checked(stages=("unit", "Non Sense"), cluster="moon", trace="/no/such/file")

    text = str(raised.value)
    assert "stages: 'Non Sense': no stage can be called so" in text
    assert "cluster: unknown cluster 'moon'; valid: local, kind, kubeconfig, kubeconfig:CONTEXT" in text
    assert "trace: no such file: /no/such/file" in text


@pytest.mark.parametrize(
    "url",
    [
        "https://github.com/owner/name.git",
        "https://[::1]:8443/owner/name",
        "git://host/name",
        "git@github.com:owner/name.git",
        "ssh://git@host:22/owner/name",
        "file:///srv/someone@here/name",
        "/srv/someone@here/name",
        "../name",
    ],
)
def test_what_git_fetches_from(url: str) -> None:
    """Servers, people on servers, and folders."""
    assert CommitSource(url=url, commit=COMMIT).url == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "https://user:s3cret@host/name",
        "https://s3cret@host/name",
        "https://user:s3c/ret@host/name",
        "https://host/name?token=s3cret",
        "https://host/name#s3cret",
        "https:/user:s3cret@host/name",
        "ssh://git:s3cret@host/name",
        "git:s3cret@host:name",
        "//user:s3cret@host/name",
        "http::https://user:s3cret@host/name",
        "file://user:s3cret@host/name",
    ],
)
def test_passwords_are_refused_and_not_repeated(url: str) -> None:
    """What reads private repositories is named; neither our error nor those behind it say the password."""
    with pytest.raises(ConfigError, match="KVSYNC_CI_GITHUB_TOKEN") as raised:
        Parameters.checked(source={"url": url, "commit": COMMIT})

    assert "s3c" not in "".join(traceback.format_exception(raised.value))


def test_the_form_refuses_passwords_too() -> None:
    """Prefect checks parameters by the schema before it keeps them."""
    url = CommitSource.model_json_schema()["properties"]["url"]

    assert re.search(url["pattern"], "https://github.com/owner/name")
    assert not re.search(url["pattern"], "https://user:s3cret@host/name")


def test_the_command_keeps_a_fork_confined() -> None:
    """Repeated by hand, the code of a fork is trusted no more than before."""
    fork = CommitSource(url="https://host/name", commit=COMMIT, trusted=False)

    assert f"--source https://host/name@{COMMIT} --untrusted" in Parameters(source=fork).command
    assert "--untrusted" not in Parameters(source=fork.model_copy(update={"trusted": True})).command


def test_a_matrix_is_the_same_run_on_each_node_image() -> None:
    """Each has its own folder, and a command that repeats it alone."""
    parameters = Parameters.checked(cluster="kind", stages=("e2e",), run="r", seed=3)
    runs = matrix(parameters, ["kindest/node:v1", "kindest/node:v2"])

    assert [(each.run, each.settings.node_image) for each in runs] == [
        ("r", "kindest/node:v1"),
        ("r-2", "kindest/node:v2"),
    ]
    assert runs[1].command == (
        "kvsync-ci run e2e --profile quick --cluster kind --seed 3 --node-image kindest/node:v2"
        f" --repository {REPOSITORY}"
    )
    assert matrix(parameters, []) == [parameters]


def test_the_form_explains_every_field() -> None:
    """The UI says of each parameter what it is for."""
    schema = Parameters.model_json_schema()
    forms = {"Parameters": schema, **schema["$defs"]}

    fields = {f"{form}.{name}": each for form, of in forms.items() for name, each in of["properties"].items()}

    assert "ClusterSettings.node_image" in fields
    assert [name for name, each in fields.items() if not each.get("description")] == []
