"""What an operator can do, one module a subject. The only door from HTTP and the command line to the broker."""
