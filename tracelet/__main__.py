"""`python -m tracelet`: the same as the command `tracelet`."""

from __future__ import annotations

from tracelet.cli import main

if __name__ == "__main__":
    main(prog_name="tracelet")
