"""Configuration: one schema for the file, the environment, `--set`, the API and the reference page.

`schema` holds the keys, `load` reads the layers, `patch` changes a loaded configuration, `reference` writes the page.
Nothing here opens a socket, writes a file (but the page) or knows a part that is configured.
"""
