"""The `jsonl` backend."""
