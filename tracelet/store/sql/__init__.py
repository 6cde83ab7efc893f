"""SQL over the runs of a store: the tables that a query sees, and the engine (DuckDB) that runs it."""
