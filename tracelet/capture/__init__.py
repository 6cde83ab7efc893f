"""Capture: the way of a value from the training thread to the file."""
