"""Collectors: what tracelet reads about the machine and the code. One file for each thing read, and their scheduler."""
