"""Keeps the exit code of a program that Ctrl-C has ended.

CPython remembers in one flag that nobody caught the KeyboardInterrupt, and so ends by SIGINT, as shells expect. It is
cleared whenever code is evaluated from a text, as the import of any module with a named tuple does. Ours imports some
while it brings the run to its end, so it sets the flag again. Called by the session at exit, on the main thread.
"""

from __future__ import annotations


def restore_interrupt_flag() -> None:
    """Make CPython remember the KeyboardInterrupt: evaluating a text that raises one is how it came to know."""
    try:
        exec("raise KeyboardInterrupt")  # noqa: S102 - a constant
    except KeyboardInterrupt:
        pass
