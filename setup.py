"""The compiled core, built where a compiler is and left out where none is; all else is in pyproject.toml."""

from setuptools import Extension, setup

setup(ext_modules=[Extension("kvsync._core", ["kvsync/core/_core.c"], optional=True)])
