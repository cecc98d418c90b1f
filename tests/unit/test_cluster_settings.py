"""Which cluster a word stands for."""

import pytest

from kvsync.errors import UnknownName
from kvsync.testing.cluster_settings import ClusterChoice


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("local", ClusterChoice("local")),
        ("kind", ClusterChoice("kind")),
        ("kubeconfig", ClusterChoice("kubeconfig")),
        ("kubeconfig:arn:aws:eks/x", ClusterChoice("kubeconfig", "arn:aws:eks/x")),
    ],
    ids=lambda value: str(value) if isinstance(value, str) else "",
)
def test_a_choice_is_read_and_written_the_same(text: str, choice: ClusterChoice) -> None:
    """Each word for a cluster is a value, which prints as the word again."""
    assert ClusterChoice.parse(text) == choice
    assert str(choice) == text


@pytest.mark.parametrize("text", ["moon", "", "kubeconfig:", "kind:x", "local:", "Kind"])
def test_another_word_is_refused_with_the_valid_ones(text: str) -> None:
    """A word that names no cluster is an error that lists those that do."""
    with pytest.raises(UnknownName) as caught:
        ClusterChoice.parse(text)

    assert str(caught.value) == (
        f"unknown cluster {text!r}; valid: local, kind, kubeconfig, kubeconfig:CONTEXT"
    )
