"""The agent: a process beside the training that samples the machine and delivers runs to backends.

`process` starts and watches it, `delivery` writes to the backends, and `nodes` connects the agents of several nodes.
"""
