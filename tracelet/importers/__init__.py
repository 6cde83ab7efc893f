"""Importers: runs that other trackers recorded, read from their files. One file or folder for each format.

Nothing is imported from here; `tracelet.registry` names them. A source is only ever read.
"""
