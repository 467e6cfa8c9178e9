"""One writer at a time: a lock on a folder that dies with the process that holds it."""

import contextlib
import errno
import fcntl
import os
from collections.abc import Callable
from pathlib import Path

NAME = "lock"
# Locks of the operating system belong to a process: taking one twice in a process succeeds, and
# closing the file a second time gives both up. So what this process holds is noted here.
_held: set[Path] = set()


class LockedError(RuntimeError):
    """Somebody holds the lock."""


class Lock:
    """A lock on a folder, taken when made, that names its holder in a file ``lock``.

    POSIX record locks, not `flock`: children forked to load data would inherit that, and hold it
    after the training itself has been killed.
    """

    def __init__(self, folder: Path, report: Callable[[str], None]):
        """Takes the lock.

        Args:
            folder: An existing folder.
            report: Told if the process that held the lock before ended without letting go.

        Raises:
            LockedError: If a live process, or this one, holds it.
            OSError: If the file system has no locks, or no room.
        """
        self._file = (folder / NAME).resolve()
        self._owner = os.getpid()
        if self._file in _held:
            raise LockedError(f"this process is already writing to {folder}")
        while True:
            self._descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT, 0o644)
            holder = os.pread(self._descriptor, 100, 0).decode(errors="replace").strip()
            try:
                fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                os.close(self._descriptor)
                if error.errno not in (errno.EACCES, errno.EAGAIN):
                    raise OSError(
                        error.errno, f"{folder} is on a file system without locks: {error.strerror}"
                    ) from error
                raise LockedError(
                    f"another process (pid {holder or 'unknown'}) is writing to {folder}"
                ) from error
            with contextlib.suppress(FileNotFoundError):
                if os.stat(self._file).st_ino == os.fstat(self._descriptor).st_ino:
                    break
            os.close(self._descriptor)  # Its holder removed the file as we opened it.
        if holder:
            report(
                f"process {holder}, which was writing to {folder}, ended without letting go of "
                "it; taking over"
            )
        try:
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"{self._owner}\n".encode(), 0)
        except OSError:
            os.close(self._descriptor)
            raise
        _held.add(self._file)

    def release(self) -> None:
        """Lets go; without effect in a forked child, whose parent still holds the lock."""
        if os.getpid() == self._owner and self._file in _held:
            with contextlib.suppress(FileNotFoundError):
                self._file.unlink()
            os.close(self._descriptor)
            _held.discard(self._file)
