"""The `wandb` backend."""
