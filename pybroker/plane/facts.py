"""What expressions and templates may see of an applicant."""

from pybroker.ports import Applicant
from pybroker.variform.contexts import AlternativeNames, ClientFacts

_KINDS = {"DNS:": 0, "IP:": 1, "email:": 2, "URI:": 3}


def facts_of(applicant: Applicant) -> ClientFacts:
    """Return the variables that every expression has, with the client id as it is now."""
    connect, listener = applicant.connect, applicant.listener
    return ClientFacts(
        client_id=applicant.client_id,
        username=applicant.username,
        zone=applicant.zone,
        listener=listener.id,
        peer_host=applicant.host,
        peer_name=applicant.peer,
        port=listener.port,
        server_name=connect.server_name,
        websocket_cookies=None if connect.websocket_path is None else cookies_of(connect.websocket_cookie or ""),
        common_name=connect.certificate_common_name,
        subject=connect.certificate_subject,
    )


def alternative_names_of(applicant: Applicant) -> AlternativeNames:
    """Return the alternative names of the client certificate; those of other kinds are left out."""
    kinds: tuple[list[str], ...] = ([], [], [], [])
    for name in applicant.connect.certificate_sans:
        kind, colon, value = name.partition(":")
        index = _KINDS.get(kind + colon)
        if index is not None:
            kinds[index].append(value)
    return AlternativeNames(*map(tuple, kinds))


def cookies_of(header: str) -> dict[str, str]:
    """Return cookies by name; of one that is sent twice the first counts. Spec: RFC 6265, 5.4."""
    cookies: dict[str, str] = {}
    for pair in header.split(";"):
        name, equals, value = pair.strip().partition("=")
        if equals and name:
            cookies.setdefault(name, value)
    return cookies
