"""Runs a module in a process that cannot outlive its parent: `python -m tests.chaos.tethered MODULE ARGUMENT...`.

The kernel kills it when its parent dies, also while it is stopped, when neither a signal nor the end of a pipe would
reach it.
"""

from __future__ import annotations

import runpy
import sys

from tenure.cli.descendants import die_with_parent

if __name__ == "__main__":
    die_with_parent()
    sys.argv[:] = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
