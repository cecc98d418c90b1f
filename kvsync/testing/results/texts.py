"""Texts of any length, in places that have little room. Pure."""

LINE = 300
"""Characters that a line for people has at most."""


def shortened(text: str, most: int = LINE) -> str:
    """Return a text that is cut in its middle to about `most` characters, and says so there."""
    if len(text) <= most:
        return text
    half = most // 2
    return f"{text[:half]}{MISSING}{len(text) - 2 * half} characters]…{text[-half:]}"


MISSING = "…[and "
"""Where a text was cut."""
