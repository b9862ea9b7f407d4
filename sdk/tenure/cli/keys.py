"""What a terminal sends when keys are pressed, as names of keys. Pure: bytes in, keys out."""

from __future__ import annotations

import codecs
import re
from typing import Final

_NAMES: Final = {
    "\x1b[A": "up",
    "\x1bOA": "up",
    "\x1b[B": "down",
    "\x1bOB": "down",
    "\x1b[5~": "page up",
    "\x1b[6~": "page down",
    "\x1b[H": "home",
    "\x1bOH": "home",
    "\x1b[1~": "home",
    "\x1b[F": "end",
    "\x1bOF": "end",
    "\x1b[4~": "end",
    "\x1b": "escape",
    "\r": "enter",
    "\n": "enter",
    "\x7f": "backspace",
    "\x08": "backspace",
}
_KEY: Final = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1bO.|\x1b(?![\[O]|$)|[^\x1b]")
_BEGUN: Final = re.compile(r"\x1b(\[[0-?]*[ -/]*|O)?")


class KeyReader:
    """Keys from a terminal's bytes. A key may be several bytes, and arrive in pieces."""

    def __init__(self) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8")(errors="ignore").decode
        self._begun = ""

    @property
    def is_amid(self) -> bool:
        """Whether a key has begun that may be longer: if nothing follows soon, it was the escape key."""
        return bool(self._begun)

    def feed(self, data: bytes) -> list[str]:
        """The keys that are complete: a letter as itself, the others by name; those without a name are left out."""
        text = self._begun + self._decode(data)
        keys: list[str] = []
        position = 0
        while found := _KEY.match(text, position):
            keys.append(found[0])
            position = found.end()
        rest = text[position:]
        self._begun = rest if _BEGUN.fullmatch(rest) else ""
        return [name for key in keys if (name := _name(key))]

    def flush(self) -> list[str]:
        """The escape key, if that is what was begun and did not go on."""
        begun, self._begun = self._begun, ""
        return ["escape"] if begun == "\x1b" else []


def _name(key: str) -> str:
    return _NAMES.get(key) or (key if key.isprintable() else "")
