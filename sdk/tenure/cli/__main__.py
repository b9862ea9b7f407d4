"""`python -m tenure.cli` is `tenure`."""

from __future__ import annotations

from tenure.cli import main

main()
