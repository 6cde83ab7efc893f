"""Imports TensorBoard's event files. Needs neither tensorboard nor TensorFlow."""
