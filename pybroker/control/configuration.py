"""The configuration that is in effect, for parts of the administration that follow its changes."""

from pybroker.config.schema import Config


class Configuration:
    """Holder of the current configuration; `replace` is called after a change was checked.

    Args:
        config: as loaded at the start.
    """

    def __init__(self, config: Config) -> None:
        self._current = config

    @property
    def current(self) -> Config:
        """What is in effect now."""
        return self._current

    def replace(self, config: Config) -> None:
        """Put a checked configuration into effect for whoever asks from now on."""
        self._current = config
