"""What outlives the process: one SQLite database, its schema by version, and the records it holds."""
