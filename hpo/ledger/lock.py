"""Whether a run's lock is held, for somebody who may read the run's folder and not write to it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)


def seen_held(lock: Path) -> bool:
    """Whether somebody holds a lock, asked by reading alone.

    A shared lock is asked for and given back at once: the driver's own is an exclusive one
    (flock(2)), and a driver that just begins asks again for a moment.

    Args:
        lock: The lock's file; where there is none, nobody ever held it.

    Raises:
        OSError: The file cannot be read, or the system knows no such locks.
    """
    try:
        import fcntl
    except ImportError as error:  # Windows
        raise OSError(errno.ENOTSUP, "locks cannot be looked at here") from error
    try:
        descriptor = os.open(lock, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
