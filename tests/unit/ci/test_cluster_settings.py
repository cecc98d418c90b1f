"""Which cluster a word stands for, and how namespaces may begin."""

from pathlib import Path

import pytest

from kvsync.ci.cluster_settings import ClusterChoice, ClusterSettings
from kvsync.ci.settings import load_settings
from kvsync.errors import ConfigError, UnknownName


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


@pytest.mark.parametrize("prefix", ["k", "kvsync", "k8s-7", "a" * 20])
def test_a_prefix_that_a_namespace_may_have_is_taken(prefix: str) -> None:
    """Small letters, digits and hyphens, of which the first is a letter, and the last no hyphen."""
    assert ClusterSettings(namespace_prefix=prefix).namespace_prefix == prefix


@pytest.mark.parametrize(
    ("prefix", "problem"),
    [
        *((each, "pattern") for each in ("Kvsync", "7", "-a", "a-", "a.b", "a_b", "aBc", "a\n", "kvsync/x")),
        ("a" * 21, "at most 20 characters"),
    ],
)
def test_a_prefix_that_no_namespace_may_have_is_refused(tmp_path: Path, prefix: str, problem: str) -> None:
    """Before anything is made, with the name of the setting: each namespace begins with it."""
    with pytest.raises(ConfigError) as caught:
        load_settings(tmp_path, {"KVSYNC_CI_NAMESPACE_PREFIX": prefix})

    (said,) = caught.value.problems
    assert said.startswith("cluster.namespace_prefix: string should ")
    assert problem in said
    assert said.endswith(f", not {prefix!r} (KVSYNC_CI_NAMESPACE_PREFIX)")
