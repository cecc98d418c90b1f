"""Doctor asks the services that a report is sent to, and says how to mend what does not answer."""

from pathlib import Path

from pydantic import SecretStr

from kvsync.ci.doctor.findings import FindingState, is_fit
from kvsync.ci.doctor.services import services
from kvsync.ci.notify.github_double import FakeGitHub
from kvsync.ci.settings import GitHubSettings, Settings, StoreSettings
from tests.integration.ci.notify.conftest import TOKEN


def settings_of(url: str, token: str, store: str) -> Settings:
    """Return settings with a token of GitHub and a store."""
    return Settings(
        github=GitHubSettings(api_url=url, token=SecretStr(token), retries=0), store=StoreSettings(url=store)
    )


def test_what_is_not_set_up_is_not_asked() -> None:
    """Without a store and a token there is nothing to find."""
    assert list(services(Settings())) == []


def test_services_that_answer(double: FakeGitHub, tmp_path: Path) -> None:
    """A folder that can be read, and a token that GitHub knows, are well."""
    found = list(services(settings_of(double.url, TOKEN, str(tmp_path))))

    assert [(each.check, each.state) for each in found] == [
        ("report store", FindingState.OK),
        ("GitHub", FindingState.OK),
    ]


def test_services_that_do_not(double: FakeGitHub, tmp_path: Path) -> None:
    """Each says what is wrong and how to mend it, keeps no run from starting, and shows no secret."""
    (tmp_path / "file").touch()
    found = list(services(settings_of(double.url, "ghp_wrong", str(tmp_path / "file"))))

    assert [(each.check, each.state) for each in found] == [
        ("report store", FindingState.UNAVAILABLE),
        ("GitHub", FindingState.UNAVAILABLE),
    ]
    assert "KVSYNC_CI_GITHUB_TOKEN" in found[1].meaning
    assert is_fit(found)
    assert "ghp_wrong" not in repr(found)
