"""A file among those that tested code may have written, opened as what it seems to be."""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO


def open_ordinary(root: Path, relative: Path) -> BinaryIO:
    """Open a file for reading; nothing below `root` on the way to it may be a link, or become one just now.

    Raises OSError for what is not there, is a link (ELOOP, ENOTDIR), or is not an ordinary file (EPERM):
    a folder, a pipe, a device, or a file that has another name, too.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    folder = os.open(root, flags | os.O_DIRECTORY)
    try:
        for name in relative.parent.parts:
            inner = os.open(name, flags | os.O_DIRECTORY, dir_fd=folder)
            os.close(folder)
            folder = inner
        file = os.open(relative.name, flags, dir_fd=folder)
    finally:
        os.close(folder)
    found = os.fstat(file)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
        os.close(file)
        raise OSError(errno.EPERM, "it is not an ordinary file", str(relative))
    return os.fdopen(file, "rb")
