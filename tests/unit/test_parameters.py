"""What a run is asked to do."""

import pytest

from kvsync.errors import ConfigError
from tasks.parameters import Parameters, matrix


def test_every_problem_is_told_at_once() -> None:
    """Unknown stage, unknown cluster and a missing trace come in one message, each with what is valid."""
    with pytest.raises(ConfigError) as raised:
        Parameters.checked(stages=("unit", "nonsense"), cluster="moon", trace="/no/such/file")

    text = str(raised.value)
    assert "stages: unknown stage 'nonsense'; valid: unit, integration" in text
    assert "cluster: unknown cluster 'moon'; valid: local, kind, kubeconfig, kubeconfig:CONTEXT" in text
    assert "trace: no such file: /no/such/file" in text


@pytest.mark.parametrize(
    ("cluster", "stages", "needed"),
    [
        ("local", ("e2e", "chaos"), False),
        ("kind", ("unit", "benchmark"), False),
        ("kind", ("unit", "chaos"), True),
        ("kubeconfig:prod", ("e2e",), True),
    ],
)
def test_a_cluster_is_made_only_for_stages_that_use_it(
    cluster: str, stages: tuple[str, ...], needed: bool
) -> None:
    """Unit tests do not wait for Kubernetes."""
    assert Parameters.checked(cluster=cluster, stages=stages).needs_cluster is needed


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
    )
    assert matrix(parameters, []) == [parameters]


def test_the_form_explains_every_field() -> None:
    """Whoever changes parameters in the UI reads what each is for."""
    schema = Parameters.model_json_schema()
    forms = {"Parameters": schema, **schema["$defs"]}

    fields = {f"{form}.{name}": each for form, of in forms.items() for name, each in of["properties"].items()}

    assert "ClusterSettings.node_image" in fields
    assert [name for name, each in fields.items() if not each.get("description")] == []
