"""The token that a change needs: made once, kept in a file that its owner alone can read, compared in constant time.

Whoever can read the file may change roles, so that one which others could read is refused instead of used.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tenure.contract.errors import TenureError

TOKEN_FILE: Final = "admin.token"  # noqa: S105 (the name of the file)
_PRIVATE: Final = 0o600
_OTHERS: Final = 0o077
_BYTES: Final = 32
_CHARS_MAX: Final = 1_024  # whoever writes one of his own; a file that is longer is another one


class TokenUnusableError(TenureError):
    """There is no token that could be used; the message says why and what to do."""

    def __init__(self, path: Path, why: str) -> None:
        self.path = path
        self.why = why
        super().__init__(f"the admin's token {path}: {why}")


def default_state(environ: Mapping[str, str]) -> Path:
    """The state directory of this user, where `tenure serve` has its data too unless it is told otherwise."""
    given = Path(environ.get("XDG_STATE_HOME", ""))
    return (given if given.is_absolute() else Path.home() / ".local" / "state") / "tenure"


def token_path(state: Path) -> Path:
    """Where the token is, in a state directory."""
    return state / TOKEN_FILE


def read_token(state: Path) -> str:
    """The token of a state directory.

    Raises:
        TokenUnusableError: There is none, it cannot be read, or others could read it too.
    """
    path = token_path(state)
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            text = file.read(_CHARS_MAX + 1)
    except FileNotFoundError:
        why = "is not there; the first start of `tenure serve` or `tenure admin` makes it (--state says where)"
        raise TokenUnusableError(path, why) from None
    except OSError as error:
        raise TokenUnusableError(path, f"cannot be read: {error.strerror}") from error
    if stat.S_IMODE(status.st_mode) & _OTHERS:
        raise TokenUnusableError(path, f"can be read by others; remove it for a new one, or: chmod 600 {path}")
    token = text.decode("ascii", errors="replace").strip()
    if not token.isprintable() or not token or " " in token or len(text) > _CHARS_MAX:
        raise TokenUnusableError(path, "holds no token; remove it for a new one")
    return token


def make_token(state: Path) -> str:
    """The token of a state directory, which is made now if there is none; of two who make it at once one wins.

    Raises:
        TokenUnusableError: It cannot be made or read.
    """
    path = token_path(state)
    if not path.exists():
        try:
            state.mkdir(0o700, parents=True, exist_ok=True)
            _write(path, secrets.token_urlsafe(_BYTES))
        except OSError as error:
            why = f"cannot be made: {error.strerror}; name a directory of yours with --state"
            raise TokenUnusableError(path, why) from error
    return read_token(state)


def _write(path: Path, token: str) -> None:
    """Put it there whole or not at all."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    opened = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, _PRIVATE)
    try:
        with os.fdopen(opened, "w") as file:
            file.write(f"{token}\n")
        with contextlib.suppress(FileExistsError):  # somebody else was first, and that one counts
            os.link(draft, path)
    finally:
        draft.unlink()
