"""Doctor asks the services that a report is sent to, and says how to mend what does not answer."""

from pathlib import Path
from typing import Literal

import pytest
from pydantic import SecretStr

from kvsync.ci.doctor.findings import FindingState, is_fit
from kvsync.ci.doctor.services import box, services
from kvsync.ci.notify.github_double import FakeGitHub
from kvsync.ci.settings import BoxSettings, GitHubSettings, Settings, StoreSettings
from kvsync.testing.processes.tools import Tools
from tests.integration.ci.notify.conftest import TOKEN


def settings_of(url: str, token: str, store: str) -> Settings:
    """Return settings with a token of GitHub and a store."""
    return Settings(
        github=GitHubSettings(api_url=url, token=SecretStr(token), retries=0), store=StoreSettings(url=store)
    )


def test_what_is_not_set_up_is_not_asked() -> None:
    """Without a store and a token there is only the box."""
    assert [each.check for each in services(Settings())] == ["box"]


@pytest.mark.parametrize(
    ("use", "state", "whose"),
    [
        ("untrusted", FindingState.UNAVAILABLE, "code of forks is not run"),
        ("pull-requests", FindingState.UNAVAILABLE, "code of pull requests is not run"),
        ("always", FindingState.MISSING, "tested code is not run"),
    ],
)
def test_without_a_box_it_is_said_whose_code_is_not_run(
    tmp_path: Path, use: Literal["untrusted", "pull-requests", "always"], state: FindingState, whose: str
) -> None:
    """And what mends that; only where everything is confined no run can start."""
    found = box(BoxSettings(use=use), Tools(search_path=str(tmp_path)))

    assert (found.check, found.state) == ("box", state)
    assert found.meaning == f"bwrap is not installed; {whose}"
    assert found.mend == "install bubblewrap (apt-get install bubblewrap, dnf install bubblewrap)"


def test_a_container_needs_no_bubblewrap(tmp_path: Path) -> None:
    """It is the box of its run."""
    found = box(BoxSettings(kind="container"), Tools(search_path=str(tmp_path)))

    assert found.state is FindingState.OK


def test_services_that_answer(double: FakeGitHub, tmp_path: Path) -> None:
    """A folder that can be read, and a token that GitHub knows, are well."""
    found = list(services(settings_of(double.url, TOKEN, str(tmp_path))))

    assert [(each.check, each.state) for each in found[1:]] == [
        ("report store", FindingState.OK),
        ("GitHub", FindingState.OK),
    ]


def test_services_that_do_not(double: FakeGitHub, tmp_path: Path) -> None:
    """Each says what is wrong and how to mend it, keeps no run from starting, and shows no secret."""
    (tmp_path / "file").touch()
    found = list(services(settings_of(double.url, "ghp_wrong", str(tmp_path / "file"))))

    assert [(each.check, each.state) for each in found[1:]] == [
        ("report store", FindingState.UNAVAILABLE),
        ("GitHub", FindingState.UNAVAILABLE),
    ]
    assert "KVSYNC_CI_GITHUB_TOKEN" in found[2].meaning
    assert is_fit(found)
    assert "ghp_wrong" not in repr(found)
