"""The control side of the data plane: who is let in, which session lives, who may subscribe.

Events come from the core in batches (`pump`), each is answered by one short call. Everything here runs on the event
loop's thread and never waits; a coroutine exists only where an authenticator needs the network.
"""
