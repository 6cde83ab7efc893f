"""The `mlflow` backend."""
