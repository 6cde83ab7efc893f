"""The agent: our own process beside the training, and the couriers that deliver to backends. See `process` and
`courier`.
"""
