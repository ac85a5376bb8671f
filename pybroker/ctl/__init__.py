"""The command line of a running broker: its commands, the socket they travel on, and what the broker does for each."""
