"""The `otlp` backend."""
