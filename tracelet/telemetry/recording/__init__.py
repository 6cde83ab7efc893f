"""What records spans in the training process."""
