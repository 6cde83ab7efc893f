"""Imports the files of offline runs of Weights & Biases. Needs neither wandb nor an account."""
