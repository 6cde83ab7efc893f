"""Which framework drives the training: while one with its own hooks does, the hooks of plain PyTorch are not installed.

They share the object `plain`: the PyTorch integration adds its patches, and a framework's integration reports on the
training thread when its loop begins and ends.
"""

from __future__ import annotations

from tracelet.integrations.patching import PatchGroup

plain = PatchGroup(needed=1)
"""Installed until a framework calls `plain.adjust_users(-1)`, and again after `plain.adjust_users(1)`."""
