"""What the pipeline's entry points learn of the installation."""

from pathlib import Path

from kvsync.ci.run.run import Installation


def test_a_secret_from_a_file_is_masked_too(tmp_path: Path) -> None:
    """What comes from a file is in no variable, but could be printed like one."""
    (kept := tmp_path / "token").write_text("ghp_from_a_file\n")
    kept.chmod(0o600)

    installation = Installation.of({"KVSYNC_CI_GITHUB_TOKEN_FILE": str(kept)})

    assert "ghp_from_a_file" in installation.secrets
    assert "ghp_from_a_file" not in repr(installation)
