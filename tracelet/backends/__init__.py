"""Plug-ins that speak to tracking systems. One file each; none imports another, nor an SDK at import time."""
