"""How a case of a JUnit file ended, by its elements and attributes, whichever tool wrote them. Pure."""

import math
import re
from collections.abc import Mapping, Sequence
from xml.etree.ElementTree import Element

from kvsync.testing.results.attempts import last_of
from kvsync.testing.results.outcome import NOTHING, OUTCOMES, Check, CheckKind
from kvsync.testing.results.texts import MISSING

OUTPUT_CHARACTERS = 2**20
"""How much of a test's output is kept, from its end; the file has all of it."""

CUT = "cut"
"""The tag given to a case that has no end."""

INTERIM: Mapping[str, CheckKind] = {
    "flakyFailure": "failed",
    "rerunFailure": "failed",
    "flakyError": "error",
    "rerunError": "error",
}
"""The elements of earlier attempts, in the words of Maven Surefire."""

ENDINGS: Mapping[str, Sequence[CheckKind]] = {
    "skipped": ("skipped", "xfailed", "quarantined", "measured"),
    "failure": ("failed",),
    "error": ("error", "timeout", "void", "inconclusive", "infra-error", "not-run"),
}
"""What each element may stand for, the worst element last; our own writer puts the exact kind into `type`."""
XFAIL_TYPE = "pytest.xfail"

WORDS: Mapping[str, CheckKind] = {
    **dict.fromkeys(("skipped", "skip", "ignored", "ignore", "disabled", "suppressed", "pending"), "skipped"),
    **dict.fromkeys(("notrun", "not run", "not_run", "notexecuted", "todo", "excluded"), "skipped"),
    **dict.fromkeys(("failed", "fail", "failure", "broken"), "failed"),
    **dict.fromkeys(("error", "errored", "crashed", "aborted"), "error"),
    **dict.fromkeys(("timeout", "timedout", "timed out", "timed_out"), "timeout"),
}
"""What `status` or `result` of an element may say instead of an element in it."""
LEFT_OUT = ("skipped", "disabled", "ignored")
"""Elements in a case, or attributes that say `true`, of tests that did not run."""
SAYING = {"status", "result", *LEFT_OUT}


def ending_of(case: Element, name: str) -> Check:
    """Return how an element ended, with its attempts, as the check of this name."""
    if case.tag == CUT:
        return Check(name=name, kind="inconclusive", detail="the file ends within this test case")
    if not len(case) and SAYING.isdisjoint(case.attrib):  # as nearly all are: half the time of those below
        return Check(name=name, kind="passed", duration_s=number(case.get("time", "")))
    kind, detail = _kind_and_detail(case)
    last = Check(
        name=name,
        kind=kind,
        detail=detail,
        duration_s=number(case.get("time", "")),
        log_tail=_output(case),
        properties={
            each.get("name", ""): each.get("value", "")
            for properties in case.iterfind("properties")
            for each in properties.iterfind("property")
        }
        if len(case)
        else NOTHING,
    )
    return last_of([*(_attempt(child, name) for child in case if child.tag in INTERIM), last])


def _kind_and_detail(case: Element) -> tuple[CheckKind, str]:
    """Say how it ended by its elements and its attributes, whichever is worse."""
    kind: CheckKind = "passed"
    detail = ""
    for tag in ENDINGS if len(case) else ():
        if found := case.findall(tag):
            kind, detail = _kind(found[0]), "\n".join(filter(None, map(_detail, found)))
    said: list[tuple[str, str]] = [
        (case.attrib[name], name) for name in ("status", "result") if name in case.attrib
    ]
    marked = [name for name in LEFT_OUT if case.get(name) == "true"]
    marked += [child.tag for child in case if child.tag in LEFT_OUT and child.tag not in ENDINGS]
    said += [(name, name) for name in marked]
    for text, name in said:
        word = WORDS.get(text.lower(), kind)
        if OUTCOMES[word] > OUTCOMES[kind]:
            kind, detail = word, detail or f"{name}: {text}"
    return kind, detail


def _kind(element: Element) -> CheckKind:
    possible, said = ENDINGS[element.tag], element.get("type", "")
    if said == XFAIL_TYPE:
        said = "xfailed"
    return next((kind for kind in possible if kind == said), possible[0])


def _attempt(element: Element, name: str) -> Check:
    said = element.get("type", "")
    kind = next((kind for kind in OUTCOMES if kind == said), INTERIM[element.tag])
    return Check(name=name, kind=kind, detail=_detail(element))


def _detail(element: Element) -> str:
    """Return the text or Surefire's stack trace, with the message if it says more; or else the type."""
    message, text, said = element.get("message", ""), element.text or "", element.get("type", "")
    text = text if text.strip() else element.findtext("stackTrace", "")
    whole = text if message.partition(MISSING)[0] in text else "\n".join(filter(None, [message, text]))
    return whole if whole.strip() or said in OUTCOMES else said


def _output(case: Element) -> str:
    parts = [child.text or "" for child in case if child.tag in ("system-out", "system-err")]
    output = "\n".join(filter(None, parts))
    left_out = len(output) - OUTPUT_CHARACTERS
    return (
        f"({left_out} characters before this are in the file)\n{output[left_out:]}"
        if left_out > 0
        else output
    )


def number(text: str) -> float:
    """Read a number with thousands separators or a decimal comma; 0 if there is none."""
    try:
        value = float(text)
    except ValueError:
        value = _foreign(text.strip())
    return value if math.isfinite(value) and value > 0 else 0.0


def _foreign(text: str) -> float:
    if re.fullmatch(r"\d{1,3}(,\d{3})+(\.\d*)?", text):
        text = text.replace(",", "")
    try:
        return float(text.replace(",", "."))
    except ValueError:
        return 0.0
