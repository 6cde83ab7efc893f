"""The `tensorboard` backend."""
