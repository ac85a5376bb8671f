"""Tenants: from a client to its namespace, and what a namespace may use."""
