"""Texts of any length, in places that have little room. Pure."""

import json

LINE = 300
"""Characters that a line for people has at most."""

_encode = json.JSONEncoder(default=str).encode


def shortened(text: str, most: int = LINE) -> str:
    """Return a text that is cut in its middle to about `most` characters, and says so there."""
    if len(text) <= most:
        return text
    half = most // 2
    return f"{text[:half]}{MISSING}{len(text) - 2 * half} characters]…{text[-half:]}"


MISSING = "…[and "
"""Where a text was cut."""


def laid_out(value: object, levels: int = 4, margin: str = "") -> str:
    """Return JSON with a line for each value of the first `levels`: a report has one for each check."""
    inner, end = f"\n{margin} ", f"\n{margin}"
    if levels and isinstance(value, dict) and value:
        lines = (
            f"{_encode(str(name))}: {laid_out(each, levels - 1, f'{margin} ')}"
            for name, each in value.items()
        )
        return f"{{{inner}{f',{inner}'.join(lines)}{end}}}"
    if levels and isinstance(value, list | tuple) and value:
        lines = (laid_out(each, levels - 1, f"{margin} ") for each in value)
        return f"[{inner}{f',{inner}'.join(lines)}{end}]"
    return _encode(value)
