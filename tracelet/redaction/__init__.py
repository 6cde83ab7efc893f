"""Redaction: keeps secrets out of everything that is recorded."""
