"""What a run ends with when something that must hold does not."""

from __future__ import annotations


class Violation(AssertionError):  # noqa: N818  # it is a finding, not an error of the simulation
    """A promise is broken."""

    def __init__(self, promise: str, what: str) -> None:
        self.promise = promise
        """Which of them, in a word or two."""
        super().__init__(f"{promise}: {what}")
