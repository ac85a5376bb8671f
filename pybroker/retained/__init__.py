"""Retained messages as far as Python decides about them; the store and its index are in the core."""
