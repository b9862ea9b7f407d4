"""Whether a command can be run, looked at before its turn comes; and the error if it cannot.

It looks as execve and the search on PATH do, and runs nothing. It cannot know all that execve will find (whether the
file is a program of this machine, or its interpreter is there), so that the error may still come at the start.
"""

from __future__ import annotations

import errno
import os
from typing import Final

from tenure.contract.errors import TenureError

_NOT_FOUND: Final = frozenset({errno.ENOENT, errno.ENOTDIR})
_HINTS: Final = {
    errno.EACCES: "it has to be a file that this user may execute (chmod +x)",
    errno.ENOEXEC: "a script has to begin with #! and its interpreter",
    **dict.fromkeys(_NOT_FOUND, "name a program on PATH, or the path of one that is there, as is its interpreter"),
}


class CommandStartError(TenureError):
    """A command could not be run; `exit_code` is what a shell would return."""

    def __init__(self, command: str, code: int) -> None:
        hint = f"; {_HINTS[code]}" if code in _HINTS else ""
        super().__init__(f"cannot run {command!r}: {os.strerror(code)}{hint}")
        self.exit_code = 127 if code in _NOT_FOUND else 126
        """127 if it was not found, 126 if it cannot be executed."""


def check_startable(command: str) -> None:
    """See that there is a file to be executed where execve would look for it.

    Raises:
        CommandStartError: There is none, or this user may not execute it.
    """
    code = errno.ENOENT
    for folder in [""] if os.path.dirname(command) else os.get_exec_path():
        path = os.path.join(folder, command)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return
        if os.path.exists(path):
            code = errno.EACCES
    raise CommandStartError(command, code)
