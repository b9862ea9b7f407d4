"""`tenure backup` and `tenure restore`: a copy of the store in one file, and a new history that goes on from it.

A backup needs no broker and stops none: it only reads. A restore needs the broker to be stopped.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Annotated, Final

import typer

from tenure.cli.exits import CONFIG, clear_errors, complain
from tenure.contract.limits import HOLD_LIMIT_MS_MAX

_SHOWN_AFTER_S: Final = 0.5  # a small store needs no progress
_SHOWN_EVERY_S: Final = 0.1
_NICENESS: Final = 10  # where processors are short, the broker and its clients go first

Data = Annotated[Path | None, typer.Option(help="Where the registry is kept.", show_default=False)]


def backup(
    file: Annotated[Path, typer.Argument(help="The file to be written.", show_default=False)],
    data: Data = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it is there.")] = False,
) -> None:
    """Copy the store into one file, as it is at one moment, also while the broker runs: no commit waits for it.

    The file appears when it is whole and was found sound. Exit code 78 if the store cannot be read, or the file cannot
    be written or is there already.
    """
    from tenure.broker.config import ConfigError, load_config
    from tenure.domain.store import StoreError
    from tenure.storage.backup import back_up

    began_s = time.monotonic()
    os.nice(_NICENESS)
    with clear_errors():
        try:
            directory = load_config(None, os.environ, {"data": data}).data
            done = back_up(directory, file, overwrite=force, on_progress=_Progress())
        except (ConfigError, StoreError) as error:
            complain(str(error))
            sys.exit(CONFIG)
        print(
            f"{file}: {done.bytes:,} bytes, history {done.history_id} up to revision {done.revision:,}, "
            f"found sound, in {time.monotonic() - began_s:.1f} s"
        )


def restore(
    file: Annotated[Path, typer.Argument(help="What `tenure backup` wrote.", show_default=False)],
    data: Data = None,
    quiet_ms: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=HOLD_LIMIT_MS_MAX,
            metavar="MS",
            help="For how long the next broker takes no requests. Default: the longest lease or hold limit in the "
            "backup and in the store that it replaces. Less is your word that no client holds a role any more.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Put a backup in the store's place, as the beginning of a new history. The broker has to be stopped.

    Clients begin anew, and no epoch is ever used twice. The store that was there is kept, in a directory beside it.
    If there is none that can be read, --quiet-ms has to be said.

    Exit code 78 if a broker runs, or the backup or the directory cannot be used; then nothing was changed.
    """
    from tenure.broker.config import ConfigError, load_config
    from tenure.domain.store import StoreError
    from tenure.storage.restoring import restore as restore_store

    with clear_errors():
        try:
            directory = load_config(None, os.environ, {"data": data}).data
            done = restore_store(file, directory, quiet_ms=quiet_ms)
        except (ConfigError, StoreError) as error:
            complain(str(error))
            sys.exit(CONFIG)
        print(f"{directory} has what {file} had at revision {done.revision:,}")
        print(f"a new history, {done.history_id}, begins with revision {done.begins_at:,}")
        print(f"the next broker takes no requests for its first {done.quiet_ms:,} ms: so long may roles still be held")
        if done.replaced is not None:
            print(f"the store that was there is kept in {done.replaced}")


class _Progress:
    """How far a copy is, on a terminal, once it takes long."""

    def __init__(self) -> None:
        self._shown_s = time.monotonic() + _SHOWN_AFTER_S - _SHOWN_EVERY_S

    def __call__(self, done: int, total: int) -> None:
        """Tell it; the last call takes it away again."""
        now_s = time.monotonic()
        if not sys.stderr.isatty() or (done < total and now_s - self._shown_s < _SHOWN_EVERY_S):
            return
        self._shown_s = now_s
        text = f"\rcopied {100 * done // max(1, total)} %" if done < total else "\r\x1b[K"
        print(text, end="", file=sys.stderr, flush=True)
