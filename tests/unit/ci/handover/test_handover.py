"""The road of a report: in which order its steps are taken, what a failure stops, and when it is done."""

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import SecretStr

from kvsync.ci.handover.handover import Handover, HandoverStep, Log, hand_over
from kvsync.ci.handover.people import leave_people
from kvsync.ci.handover.roads import ROADS
from kvsync.ci.handover.storing import store_at_last
from kvsync.ci.report.report import Report
from kvsync.ci.run.parameters import Parameters
from kvsync.ci.run.run import Installation, Run
from kvsync.ci.settings import GitHubSettings, NotifySettings, ServeSettings, Settings, StoreSettings
from kvsync.ci.store.upload import Uploaded

LOG = logging.getLogger("road")


def handover(folder: Path, settings: Settings | None = None) -> Handover:
    """The report of a run that found nothing, at the beginning of its road."""
    run = Run(Parameters(run="run-1", report_dir=folder), Installation(settings or Settings()))
    run.folder.path.mkdir()
    report = Report(
        run="run-1",
        started_at=datetime.now(UTC),
        duration_s=1.0,
        command="",
        stages=(),
        parameters={},
        versions={},
        machine={},
    )
    return Handover(run=run, report=report)


def step(name: str, taken: list[str], *, fails: bool = False, vital: bool = False) -> HandoverStep:
    """A step that notes that it was taken."""

    def act(handover: Handover, _: Log) -> Handover:
        taken.append(name)
        if fails:
            raise ValueError(f"{name} broke")
        return handover

    return HandoverStep(name=name, act=act, vital=vital)


def test_the_steps_are_taken_in_their_order(tmp_path: Path) -> None:
    """At the end the folder says that all was told."""
    taken: list[str] = []
    done = hand_over(handover(tmp_path), [step(name, taken) for name in "abc"], LOG)

    assert (taken, done.pending, done.run.folder.told.exists()) == (["a", "b", "c"], False, True)


def test_a_step_that_breaks_stops_no_other(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is a warning, and it can be seen later that not all was told."""
    taken: list[str] = []
    done = hand_over(handover(tmp_path), [step("a", taken, fails=True), step("b", taken)], LOG)

    assert (taken, done.pending, done.run.folder.told.exists()) == (["a", "b"], True, False)
    assert "a: ValueError: a broke" in caplog.text


def test_a_vital_step_that_breaks_ends_the_road(tmp_path: Path) -> None:
    """Without a page there is nothing to store; nothing was told."""
    taken: list[str] = []
    start = handover(tmp_path)
    with pytest.raises(ValueError, match="a broke"):
        hand_over(start, [step("a", taken, fails=True, vital=True), step("b", taken)], LOG)

    assert (taken, start.run.folder.told.exists()) == (["a"], False)


@pytest.mark.parametrize(
    ("stored", "served", "link"),
    [
        ("", "", ""),
        ("", "https://ci.example/r/", "https://ci.example/r/run-1/report.html"),
        ("file:///s/report.html", "https://ci.example", "https://ci.example/run-1/report.html"),
        ("https://s3/report.html?signed", "https://ci.example", "https://ci.example/run-1/report.html"),
        ("https://s3/report.html", "https://ci.example", "https://s3/report.html"),
    ],
)
def test_everyone_is_shown_what_everyone_may_open(
    tmp_path: Path, stored: str, served: str, link: str
) -> None:
    """The store's link if it is public, else the one that `serve` is reached by, if others reach it."""
    done = replace(
        handover(tmp_path, Settings(serve=ServeSettings(reports_url=served))),
        uploaded=Uploaded(url=stored, files=1, bytes=1) if stored else None,
    )

    assert (done.link, done.link_here) == (link, "http://127.0.0.1:4281/run-1/report.html")


def test_steps_see_what_those_before_found(tmp_path: Path) -> None:
    """Each is taken by the one who hands over, who may wrap it."""
    wrapped: list[str] = []

    def carry(step: HandoverStep, handover: Handover, _: Log) -> Handover:
        wrapped.append(f"{step.name} {handover.pending}")
        return replace(handover, pending=True)

    hand_over(handover(tmp_path), [step("a", []), step("b", [])], LOG, carry=carry)

    assert wrapped == ["a False", "b True"]


def test_the_roads() -> None:
    """All begin with archive, store and view; people are told on one of them, GitHub on each."""
    assert {name: [each.name for each in road] for name, road in ROADS.items()} == {
        "full": ["archive", "upload", "artifacts", "notify", "github", "site"],
        "quiet": ["archive", "upload", "artifacts", "github", "site"],
        "again": ["archive", "upload", "artifacts", "github"],
        "last seconds": ["archive", "upload", "artifacts", "notify later", "github"],
    }


def test_what_is_not_configured_is_no_step(tmp_path: Path) -> None:
    """A step is a task, which costs something; some are none without a store, addresses or a token."""
    told = Settings(
        store=StoreSettings(url="/store"),
        notify=NotifySettings(urls=SecretStr("json://127.0.0.1")),
        github=GitHubSettings(token=SecretStr("token")),
    )
    wanted: dict[str, list[str]] = {"none": [], "all": []}

    def carry(step: HandoverStep, handover: Handover, _: Log) -> Handover:
        wanted["all" if handover.run.settings.store.url else "none"].append(step.name)
        return handover

    for name, settings in (("none", Settings()), ("all", told)):
        folder = tmp_path / name
        folder.mkdir()
        hand_over(handover(folder, settings), ROADS["full"], LOG, carry=carry)

    assert wanted["none"] == ["archive", "artifacts", "site"]
    assert wanted["all"] == [step.name for step in ROADS["full"]]


@pytest.mark.parametrize(
    ("act", "settings", "pending"),
    [
        (store_at_last, Settings(), False),
        (store_at_last, Settings(store=StoreSettings(url="/nowhere")), True),
        (leave_people, Settings(), False),
        (leave_people, Settings(notify=NotifySettings(urls=SecretStr("json://x"))), True),
    ],
    ids=["no store", "a store", "no people", "people"],
)
def test_an_interrupted_run_leaves_what_takes_long(
    act: Callable[[Handover, Log], Handover], settings: Settings, pending: bool, tmp_path: Path
) -> None:
    """Its guardian or its command takes another road then, but only if there is anything to do there."""
    assert act(handover(tmp_path, settings), LOG).pending is pending
