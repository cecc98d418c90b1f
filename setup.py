"""The compiled core, built where a compiler is and left out where none is; all else is in pyproject.toml."""

from pathlib import Path

from setuptools import Extension, setup

SOURCES, HEADERS = (sorted(map(str, Path("kvsync/core").glob(f"*.{kind}"))) for kind in "ch")

setup(ext_modules=[Extension("kvsync._core", SOURCES, depends=HEADERS, optional=True)])
