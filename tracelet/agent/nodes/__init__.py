"""Nodes that share no file system: how their agents find each other and transfer journals."""
