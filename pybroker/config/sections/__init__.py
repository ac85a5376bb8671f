"""The sections of the schema, one file a subject; `pybroker.config.schema` puts them together."""
