"""Where the time goes: spans, their events and attributes, for code that Lightning does not run."""
