"""The profiles that `go test -coverprofile` writes. Pure.

By hand: PyPI has no reader of them.
"""

import re
from collections import defaultdict
from collections.abc import Iterable

from kvsync.ci.readers.bounds import Damaged
from kvsync.ci.readers.coverage.coverage import Coverage, FileCoverage
from kvsync.ci.readers.reading import ResultFile, of_coverage

MOST_LINES = 5_000_000
"""Of all files together; one block can claim any number."""

_BLOCK = re.compile(r"(\S.*):(\d{1,9})\.\d{1,9},(\d{1,9})\.\d{1,9} (\d{1,9}) (\d{1,20})")
_MODE = re.compile(r"mode: (set|count|atomic)\s*$")


def read_go_cover(text: str) -> ResultFile:
    """Return what `go test -coverprofile` wrote, by lines: a line ran if a block on it did. Raises Damaged.

    Paths begin with the module's, as in the file.
    """
    lines = text.splitlines()
    if not lines or not _MODE.match(lines[0]):
        raise Damaged("it does not begin with the mode of a Go profile")
    blocks = [(line, _BLOCK.fullmatch(line)) for line in lines[1:] if line and not _MODE.match(line)]
    odd = [line for line, found in blocks if not found]
    files = _files(found for _, found in blocks if found)
    return of_coverage(Coverage(files)).doubted(
        f"a line is no block of a profile: {odd[0][:80]}" if odd else ""
    )


def _files(blocks: Iterable[re.Match[str]]) -> dict[str, FileCoverage]:
    files: dict[str, dict[int, bool]] = defaultdict(dict)
    seen = 0
    for found in blocks:
        first, last, statements, count = (int(each) for each in found.groups()[1:])
        seen += max(0, last - first + 1)
        if seen > MOST_LINES:
            raise Damaged(f"its blocks have more than {MOST_LINES:,} lines")
        hits = files[found[1]]
        if statements:
            hits.update({number: count > 0 or hits.get(number, False) for number in range(first, last + 1)})
    return {path: FileCoverage(hits) for path, hits in files.items()}
