"""What a run keeps of the repository: the CODEOWNERS file that GitHub would take."""

from pathlib import Path

import pytest

from kvsync.ci.report.owners import LARGEST
from kvsync.ci.run.kept import keep_owners, load_owners


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with a CODEOWNERS file at each place, which says where it lies."""
    for owner, place in (("github", ".github"), ("top", "."), ("docs", "docs")):
        folder = tmp_path / "repository" / place
        folder.mkdir(exist_ok=True, parents=True)
        (folder / "CODEOWNERS").write_text(f"* @{owner}\n")
    (tmp_path / "run").mkdir()
    return tmp_path / "repository"


def kept(repository: Path) -> tuple[str, ...]:
    """Return who owns everything, by what a run keeps."""
    run_dir = repository.parent / "run"
    keep_owners(repository, run_dir)
    return load_owners(run_dir).of("x.py")


def test_the_first_place_counts(repository: Path) -> None:
    """`.github` before the top before `docs`; without any there are no owners."""
    for owner in ("github", "top", "docs"):
        assert kept(repository) == (f"@{owner}",)
        place = {"github": ".github", "top": ".", "docs": "docs"}[owner]
        (repository / place / "CODEOWNERS").unlink()

    assert kept(repository) == ()


def test_a_link_that_leads_out(repository: Path) -> None:
    """It is not followed: a commit must not show files of the machine."""
    (repository.parent / "secret").write_text("* @secret\n")
    (repository / ".github" / "CODEOWNERS").unlink()
    (repository / ".github" / "CODEOWNERS").symlink_to("../../secret")

    assert kept(repository) == ("@top",)


@pytest.mark.parametrize(
    ("content", "owners"),
    [(b"* @a\n\xff\xfe @b\n", ("@a",)), (b"* @a\n" + b"#" * LARGEST, ()), (b"", ())],
    ids=["not UTF-8", "too large", "empty"],
)
def test_a_strange_file(repository: Path, content: bytes, owners: tuple[str, ...]) -> None:
    """What cannot be read is left out; it is never an error, for owners decide nothing."""
    (repository / ".github" / "CODEOWNERS").write_bytes(content)

    assert kept(repository) == owners
