"""Who may enter and what they may do: the chain of authenticators, bans, and access control of subscriptions."""
