"""Namespaces as operators see them: created, configured, counted, emptied and deleted."""
