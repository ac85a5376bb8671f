"""Tests of the Python side and of the whole program. What each folder is for: CONTRIBUTING.md."""
