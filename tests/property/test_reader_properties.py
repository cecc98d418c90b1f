"""Whatever a file of results contains, reading it ends in a result, or in a word why there is none."""

import json
from contextlib import suppress

from hypothesis import example, given, settings
from hypothesis import strategies as st

from kvsync.ci.readers.bounds import Damaged
from kvsync.ci.readers.formats import READERS, ROOTED, Unrecognized, format_of
from kvsync.ci.readers.reading import ResultFile, result_of
from tests.unit.ci.readers.recordings import FOLDER, recorded

RECORDINGS = [recorded(path.name) for path in sorted(FOLDER.iterdir()) if path.suffix != ".md"]

TWO_CLOCKS = (
    '{"Time":"2026-01-01T00:00:00Z","Action":"start","Package":"p"}\n'
    '{"Time":"2026-01-01T00:00:00","Action":"pass","Package":"p"}\n'
)
"""One time with a zone and one without: they cannot be compared."""

PIECES = (
    *(
        '{"',
        '":',
        "null",
        "[]",
        "{}",
        "1e999",
        "-1",
        "NaN",
        "9" * 400,
        '"runs":[null],',
        '"Time":"2026-01-01",',
    ),
    *(
        "ok ",
        "not ok ",
        "1..",
        "    ",
        "\n",
        "SF:",
        "DA:1",
        "end_of_record\n",
        "<",
        ">",
        "&x;",
        "\x00",
        "\ud800",
    ),
)


@st.composite
def damaged(draw: st.DrawFn) -> str:
    """Draw a recording with pieces put in, cut out, and cut off."""
    text = draw(st.sampled_from(RECORDINGS))
    for _ in range(draw(st.integers(1, 5))):
        at = draw(st.integers(0, len(text)))
        text = text[:at] + draw(st.sampled_from(PIECES)) + text[at + draw(st.integers(0, 60)) :]
    return text[: draw(st.integers(len(text) // 2, len(text)))]


@settings(deadline=None, max_examples=100, database=None)
@given(damaged(), st.sampled_from([*READERS, *ROOTED]))
@example(TWO_CLOCKS, "go-test")
@example('<coverage x="\ud800"/>', "cobertura")
def test_no_file_breaks_a_reader(text: str, other: str) -> None:
    """Its own reader, and one of another format."""
    names = [other]
    with suppress(Unrecognized):
        names.append(format_of(text))
    for name in names:
        try:
            read = ROOTED[name](text, "/src") if name in ROOTED else READERS[name](text)
        except Damaged:
            read = ResultFile(doubts=["damaged"])
        json.dumps(result_of("theirs", [("file", read)]).to_json())
