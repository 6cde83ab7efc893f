"""Who drives the training: while a framework with hooks of its own does, the hooks of plain PyTorch are not in place.

`plain` is the one object that they share: the PyTorch integration puts its patches in, and a framework's integration
says on the training thread when its loop begins and ends.
"""

from __future__ import annotations

from tracelet.integrations.patching import PatchGroup

plain = PatchGroup(needed=1)
"""In place until a framework calls `plain.adjust_users(-1)`, and again after `plain.adjust_users(1)`."""
