"""What the broker counts, and where it is shown: `$SYS` topics for now."""
