"""pybroker: an MQTT broker whose bytes move in Rust and whose decisions are made in Python.

Holds the version and nothing else, so that importing the package has no side effect and costs nothing.
"""

__version__ = "0.1.0"
