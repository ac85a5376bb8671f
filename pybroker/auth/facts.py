"""What expressions and templates of authenticators may know of an applicant."""

from pybroker.plane.facts import facts_of
from pybroker.ports import Applicant
from pybroker.variform.contexts import bind_authenticator
from pybroker.variform.values import Bindings

_NO_ATTRIBUTES: dict[str, str] = {}


def bindings_of(applicant: Applicant) -> Bindings:
    """Return the variables of `AUTHENTICATOR_PRECONDITION`."""
    attributes = applicant.attributes or _NO_ATTRIBUTES
    return bind_authenticator(facts_of(applicant), attributes, applicant.connect.password)
