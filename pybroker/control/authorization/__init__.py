"""Access rules as operators see them: the stored lists, their records, CSV, sources, settings and explanations."""
