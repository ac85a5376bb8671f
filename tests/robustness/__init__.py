"""Hostile input and hostile company: nothing of it stops, stalls or grows the broker."""
