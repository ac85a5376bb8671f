"""The list of those who may not connect."""

from pybroker.ports import Applicant


class NoBans:
    """The empty list; implements `ports.Banned`."""

    def is_banned(self, applicant: Applicant) -> bool:
        """Return false."""
        return False
