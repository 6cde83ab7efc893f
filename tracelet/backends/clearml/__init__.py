"""The `clearml` backend."""
