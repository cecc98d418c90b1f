"""docs/gateway.md lists what the gateway has: routes, headers, settings, metrics, fields of /status."""

import re

from docs.scripts.gateway import BEGIN, PAGE, named, updated


def test_settings_and_metrics_are_up_to_date() -> None:
    """`python docs/scripts/gateway.py --write` brings them there."""
    page = PAGE.read_text(encoding="utf-8")

    assert updated(page) == page


def test_everything_has_its_place() -> None:
    """Every route, header and field stands in a table of the page, as code."""
    said = PAGE.read_text(encoding="utf-8").partition(BEGIN)[0]
    rows = "\n".join(line for line in said.splitlines() if line.startswith("|"))
    spans = {word for span in re.findall(r"`([^`]+)`", rows) for word in span.replace("NAME", "ID").split()}

    assert {kind: [each for each in names if each not in spans] for kind, names in named().items()} == {
        "route": [],
        "header": [],
        "field of a pod": [],
        "field of a source": [],
        "field of predictions": [],
    }
