"""Properties over random input: the core against plain references that are written from the contract."""
