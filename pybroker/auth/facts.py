"""What expressions and templates of authenticators may know of an applicant."""

from pybroker.ports import Applicant
from pybroker.variform.contexts import ClientFacts, bind_authenticator
from pybroker.variform.values import Bindings

_NO_ATTRIBUTES: dict[str, str] = {}


def bindings_of(applicant: Applicant) -> Bindings:
    """Return the variables of `AUTHENTICATOR_PRECONDITION`."""
    connect = applicant.connect
    facts = ClientFacts(
        client_id=applicant.client_id,
        username=applicant.username,
        zone=applicant.zone,
        listener=applicant.listener.id,
        peer_host=connect.peer[0],
        peer_name=applicant.peer,
        port=applicant.listener.port,
        server_name=connect.server_name,
        common_name=connect.certificate_common_name,
        subject=connect.certificate_subject,
    )
    return bind_authenticator(facts, applicant.attributes or _NO_ATTRIBUTES, connect.password)
