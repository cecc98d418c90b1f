"""What a subject promises, and how it is kept."""

from typing import Any

import pytest


def obj(*required: str, **fields: Any) -> dict[str, Any]:
    return {"type": "object", "properties": fields, "required": list(required), "additionalProperties": False}


WHOLE, NUMBER, TEXT = {"type": "integer"}, {"type": "number"}, {"type": "string"}


@pytest.mark.parametrize(
    ("mode", "widened", "narrowed"),
    [
        ("none", 201, 201),
        ("backward", 201, 409),
        ("forward", 409, 201),
        ("full", 409, 409),
    ],
)
def test_modes(api: Any, subject: str, mode: str, widened: int, narrowed: int) -> None:
    """Backward lets a type be widened, forward narrowed, full neither."""
    for number, (schema, status) in enumerate(((NUMBER, widened), (WHOLE, narrowed))):
        other = f"{subject}-{number}"
        api.promise(other, mode)
        assert api.register(other, obj(a=WHOLE if number == 0 else NUMBER), "1.0.0").status_code == 201
        assert api.register(other, obj(a=schema), "1.1.0").status_code == status


def test_a_subject_promises_to_be_backward_compatible(api: Any, subject: str) -> None:
    """Unless it says otherwise."""
    api.register(subject, obj(a=TEXT))
    assert api.get(f"/subjects/{subject}/compatibility").json() == {"mode": "backward"}


def test_a_refusal_says_why(api: Any, subject: str) -> None:
    """Every problem, with the version that it was found by."""
    api.register(subject, obj(a=TEXT, b=TEXT), "1.0.0")
    answer = api.register(subject, obj("c", a=WHOLE, b=TEXT, c=TEXT), "1.1.0")
    assert answer.status_code == 409
    assert answer.json()["problems"] == [
        "1.0.0: the new version cannot read old documents: /c: the field became required",
        "1.0.0: the new version cannot read old documents: /a: string is not a type of it",
    ]


def test_a_breaking_change_is_a_new_major_version(api: Any, subject: str) -> None:
    """Which is chosen where none is named."""
    api.register(subject, obj(a=TEXT))
    assert api.register(subject, obj("a", a=TEXT), "1.1.0").status_code == 409
    assert api.register(subject, obj("a", a=TEXT)).json()["version"] == "2.0.0"


def test_a_change_is_checked_before_it_is_made(api: Any, subject: str) -> None:
    """Nothing is registered by that."""
    api.register(subject, obj(a=TEXT))
    assert api.check(subject, obj(a=TEXT, b=TEXT)) == {"compatible": True, "problems": []}
    assert not api.check(subject, obj("a", a=TEXT))["compatible"]
    assert api.check(subject, obj("a", a=TEXT), "2.0.0")["compatible"]
    assert api.versions(subject) == ["1.0.0"]


def test_transitive_modes_look_at_all_versions(api: Any, subject: str) -> None:
    """A field that was gone for a version cannot come back with another type."""
    history = [obj(a=TEXT), {**obj(), "additionalProperties": True}, obj(a=WHOLE)]
    statuses = {}
    for mode in ("forward", "forward_transitive"):
        api.promise(f"{subject}-{mode}", mode)
        answers = [api.register(f"{subject}-{mode}", s, f"1.{n}.0") for n, s in enumerate(reversed(history))]
        statuses[mode] = [answer.status_code for answer in answers]
    assert statuses["forward"][0] == statuses["forward_transitive"][0] == 201
    assert statuses["forward_transitive"][2] == 409


def test_a_promise_that_changes_holds_from_then_on(api: Any, subject: str) -> None:
    """What is registered stays."""
    api.promise(subject, "none")
    api.register(subject, obj(a=TEXT), "1.0.0")
    api.register(subject, obj(a=WHOLE), "1.1.0")
    api.promise(subject, "full")
    assert api.versions(subject) == ["1.0.0", "1.1.0"]
    assert api.register(subject, obj(a=NUMBER), "1.2.0").status_code == 409


def test_what_was_compared_is_kept(api: Any, subject: str) -> None:
    """For those who ask later why a version was let in."""
    api.promise(subject, "full_transitive")
    for number, title in enumerate("abc"):
        api.register(subject, {**obj(a=TEXT), "title": title}, f"1.{number}.0")
    checks = api.get(f"/subjects/{subject}/versions/1.2.0/checks").json()["checks"]
    assert [(each["against"], each["mode"], each["problems"]) for each in checks] == [
        ("1.0.0", "full_transitive", []),
        ("1.1.0", "full_transitive", []),
    ]


def test_deleted_versions_are_not_compared_with(api: Any, subject: str) -> None:
    """They bind no new one."""
    api.register(subject, obj(a=TEXT), "1.0.0")
    api.delete(subject, "1.0.0")
    assert api.register(subject, obj(a=WHOLE), "1.1.0").status_code == 201


def test_an_unknown_mode_is_refused(api: Any, subject: str) -> None:
    """With those that there are."""
    answer = api.promise(subject, "sideways")
    assert answer.status_code == 400
    assert "full_transitive" in answer.json()["error"]
