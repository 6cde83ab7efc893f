"""The journal: the file that one process of a run appends its records to, and what reads it. Knows no other room."""
