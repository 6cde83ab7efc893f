"""Imports MLflow's runs from its folders and SQLite files. Needs no mlflow, whose client would migrate a database."""
