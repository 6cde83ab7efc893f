"""Event files, as TensorBoard reads them. Needs neither tensorboard nor TensorFlow."""
