"""HTTP API and dashboard: a Starlette application over `pybroker.control`. No broker rule lives here."""
