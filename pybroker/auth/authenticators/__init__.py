"""The kinds of authenticator, one a module; none knows of another."""
