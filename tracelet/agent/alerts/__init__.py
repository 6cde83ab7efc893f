"""Alerts: what the program and the rules report, sent once by the agent of rank 0's node."""
