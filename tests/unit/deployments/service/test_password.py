"""The password of a server that deliveries reach: made once, kept for its user, found by our commands."""

import os
import stat
from pathlib import Path

import pytest

from deployments.service.password import AUTH, keep_password, kept_password, password_file, with_password
from kvsync.errors import ConfigError

HERE = "http://127.0.0.1:4200/api"


def test_it_is_made_once_and_only_its_user_can_read_it(tmp_path: Path) -> None:
    """Whatever the umask says, and without a file half written."""
    before = os.umask(0)
    try:
        password = keep_password(tmp_path)
    finally:
        os.umask(before)

    assert keep_password(tmp_path) == kept_password(tmp_path) == password
    assert stat.S_IMODE(password_file(tmp_path).stat().st_mode) == 0o600
    assert [path.name for path in (tmp_path / ".prefect").iterdir()] == ["password"]
    assert keep_password(tmp_path / "another") != password


def test_one_that_others_can_read_is_refused(tmp_path: Path) -> None:
    """With what to do about it."""
    keep_password(tmp_path)
    password_file(tmp_path).chmod(0o640)

    with pytest.raises(ConfigError, match="others can read it; remove it"):
        kept_password(tmp_path)


@pytest.mark.parametrize(
    ("url", "finds_it"),
    [
        (HERE, True),
        ("http://localhost:4200/api", True),
        ("http://[::1]:4200/api", True),
        ("https://prefect.example.org/api", False),
        ("http://127.0.0.1.example.org/api", False),
        ("", False),
    ],
)
def test_it_is_told_to_this_machine_only(tmp_path: Path, url: str, *, finds_it: bool) -> None:
    """Another server has another password, and may be someone else's."""
    password = keep_password(tmp_path)

    found = with_password(tmp_path, {"PREFECT_API_URL": url, "PATH": "/bin"})

    assert found == {"PREFECT_API_URL": url, "PATH": "/bin"} | ({AUTH: password} if finds_it else {})


def test_one_that_is_named_wins(tmp_path: Path) -> None:
    """And without any there is none."""
    assert with_password(tmp_path, {"PREFECT_API_URL": HERE}) == {"PREFECT_API_URL": HERE}
    keep_password(tmp_path)

    assert with_password(tmp_path, {"PREFECT_API_URL": HERE, AUTH: "a:b"})[AUTH] == "a:b"
