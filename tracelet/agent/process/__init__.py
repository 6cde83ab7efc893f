"""The agent's life: its start, its configuration, and the processes that it watches."""
