"""Searches for hyperparameters: sweeps in the configuration format of Weights & Biases, run on this machine.

Called by `tracelet sweep`, `tracelet.sweep()` and the wandb integration. A trial is a run; its metrics are read from
its journal. Nothing here imports torch.
"""
