"""Tests with real clients, a real process and real certificates."""
