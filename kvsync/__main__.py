"""`python -m kvsync`: the same as the command `kvsync`."""

from kvsync.cli import app

app(prog_name="kvsync")
