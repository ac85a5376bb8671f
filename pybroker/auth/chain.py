"""The authentication chain: authenticators in order, and what holds when there is none.

No authenticator exists yet: whoever connects is anonymous to the broker, and the configuration says whether such
clients may enter.
"""

from pybroker.ports import Applicant, Verdict
from pybroker.types import ClientId

NOT_AUTHORIZED = 0x87
BAD_AUTHENTICATION_METHOD = 0x8C

_ADMITTED = Verdict(0)
_DENIED = Verdict(NOT_AUTHORIZED)
_UNKNOWN_METHOD = Verdict(BAD_AUTHENTICATION_METHOD)


class AuthenticationChain:
    """The chain of all listeners; implements `ports.Authenticator`.

    Args:
        allows_anonymous: whether a client that no authenticator accepted may enter; may be changed while running.
    """

    def __init__(self, allows_anonymous: bool) -> None:
        self.allows_anonymous = allows_anonymous

    def authenticate(self, applicant: Applicant) -> Verdict:
        """Judge an applicant by its CONNECT; no method of enhanced authentication is known.

        Spec: [MQTT5-4.12.0-1]
        """
        if applicant.method is not None:
            return _UNKNOWN_METHOD
        return _ADMITTED if self.allows_anonymous else _DENIED

    def proceed(self, applicant: Applicant, data: bytes) -> Verdict:
        """Refuse: no method takes more than one step."""
        return _UNKNOWN_METHOD

    def authenticate_again(self, client_id: ClientId, method: str, data: bytes) -> Verdict:
        """Refuse: nobody can have authenticated by a method."""
        return _UNKNOWN_METHOD
