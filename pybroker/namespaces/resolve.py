"""From a client to its namespace. No namespace exists yet: every client is outside of all of them."""

from pybroker.ports import Applicant
from pybroker.types import Mountpoint


class NoNamespaces:
    """The broker without tenants; implements `ports.NamespaceResolver`."""

    def resolve(self, applicant: Applicant) -> None:
        """Leave the client as it is."""

    def judge(self, applicant: Applicant) -> int:
        """Let everybody pass."""
        return 0

    def judge_again(self, applicant: Applicant) -> int:
        """Let everybody pass."""
        return 0

    def mountpoint(self, applicant: Applicant) -> Mountpoint:
        """Return the empty prefix."""
        return Mountpoint("")
