"""Backends: plug-ins, one per tracking system. None imports another one, nor an SDK at import time."""
