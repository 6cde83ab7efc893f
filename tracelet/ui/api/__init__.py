"""The HTTP API under /api: used by the pages and available to scripts. The server's worker threads run it.

Each file serves one noun; `application` combines them. Reads through `RunCache`, changes through `RunEdits`.
"""
