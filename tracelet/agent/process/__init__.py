"""The agent's life: how it is started, what it is told, what it watches."""
