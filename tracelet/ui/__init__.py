"""The dashboard: a local web page over a store. Reads the store and below, never the session.

Started by `tracelet ui` in a process of its own; `server` starts it, `api` answers requests, `pages` build the pages.
"""
