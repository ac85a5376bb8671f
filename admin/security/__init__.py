"""Who may call which route: credentials, and the rules of roles and scopes."""
