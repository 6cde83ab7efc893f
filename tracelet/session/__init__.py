"""A session: the life of a run in a process, from `start_logging()` to the end. `active_session` begins and ends it."""
