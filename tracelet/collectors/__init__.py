"""Collectors: read data about the machine and the code. One file per subject, and their scheduler."""
