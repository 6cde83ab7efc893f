"""Records spans and training metrics in the training process."""
