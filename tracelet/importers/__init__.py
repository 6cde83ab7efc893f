"""Importers: read runs of other trackers from their files. One file or folder per format.

Import nothing from here; `tracelet.registry` lists them. Importers never write to a source.
"""
