"""Preserves the exit code of a program that Ctrl-C ended.

CPython sets a flag when nothing catches the KeyboardInterrupt, and then ends by SIGINT, as shells expect. It clears the
flag whenever it evaluates code from a string, as importing a module with a named tuple does. Ending a run imports such
modules, so this sets the flag again. Called by the session at exit, on the main thread.
"""

from __future__ import annotations


def restore_interrupt_flag() -> None:
    """Set CPython's flag again, by evaluating a string that raises a KeyboardInterrupt."""
    try:
        exec("raise KeyboardInterrupt")  # noqa: S102 - a constant
    except KeyboardInterrupt:
        pass
