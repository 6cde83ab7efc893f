"""Imports Aim's repositories: the package aim reads them, in a process of its own."""
