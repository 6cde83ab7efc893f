"""The `aim` backend."""
