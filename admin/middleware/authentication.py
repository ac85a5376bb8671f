"""From a request to its caller."""

from starlette.datastructures import Headers

from admin.security.credentials import Bearer, read_credential
from admin.table import NOBODY, Access, Row
from pybroker.control.caller import Caller
from pybroker.control.door import Control
from pybroker.errors import Refused


async def authenticate(control: Control, row: Row, headers: Headers, peer: str) -> Caller:
    """Return who asks; `NOBODY` on a route that is open.

    Raises:
        Refused: the credential is missing, unreadable, not accepted here, unknown or expired.
    """
    if row.access is Access.OPEN or (row.opens_when is not None and row.opens_when(control)):
        return NOBODY
    credential = read_credential(headers)
    if isinstance(credential, Bearer):
        return await control.tokens.authenticate(credential.token)
    if not row.accepts_keys:
        raise Refused("API_KEY_NOT_ALLOW", "API keys cannot use this path")
    return control.api_keys.authenticate(credential.api_key, credential.secret, peer)
