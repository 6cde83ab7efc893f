"""The session: the life of a run in a process, from `start_logging()` to its end. `active_session` starts
and ends it.
"""
