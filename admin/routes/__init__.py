"""One module a resource: its handlers and its rows of the route table. No broker rule lives here."""
