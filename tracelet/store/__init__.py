"""The store: runs on disk as objects. Reads, and writes nothing but summaries and annotations."""
