"""The HTTP API under /api: what the pages use and scripts may use. Worker threads of the server run it.

Each file answers for one noun; `application` puts them together. Reads through `RunCache`, changes through `RunEdits`.
"""
