"""Imports tables: CSV, JSON lines and Parquet, with a column each for step, time and run, guessed or named."""
