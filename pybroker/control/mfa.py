"""The second factor: six digits that change every 30 s (RFC 6238, SHA-1), and who may switch it on and off.

A code counts once, within one step before or after its own. The secret leaves the broker only through the user's own
login, until the first code was right.
"""

import hmac
import io
from datetime import UTC, datetime

import msgspec
import pyotp
import segno

from pybroker.control.caller import Caller
from pybroker.control.tokens import Tokens
from pybroker.control.users import Users, user_key
from pybroker.errors import Refused
from pybroker.persistence.records import Mfa, MfaDecision, UserRecord

STEP_S = 30
_TOLERATED_STEPS = 1
_ISSUER = "pybroker"
_SCOPE = "mfa_management"


def new_secret() -> Mfa:
    """Return a second factor that waits for its first code; the secret has 20 random bytes."""
    return Mfa(state="pending", secret=pyotp.random_base32(32))


def step_of(mfa: Mfa, code: str, wall_ms: int) -> int | None:
    """Return the number of the step whose code that is; `None`: of none that is near and unused.

    Args:
        mfa: knows the secret and the step used last.
        code: as typed.
        wall_ms: now.
    """
    if not (code.isascii() and code.isdigit()):
        return None
    now = wall_ms // 1_000 // STEP_S
    found = None
    totp = pyotp.TOTP(mfa.secret)
    for step in range(now - _TOLERATED_STEPS, now + _TOLERATED_STEPS + 1):
        if hmac.compare_digest(totp.at(datetime.fromtimestamp(step * STEP_S, UTC)), code) and step > mfa.last_step:
            found = step
    return found


def qr_code(username: str, secret: str) -> str:
    """Return the secret as a QR code for authenticator applications: one SVG element."""
    uri = pyotp.TOTP(secret).provisioning_uri(name=username, issuer_name=_ISSUER)
    drawn = io.BytesIO()
    segno.make(uri, micro=False).save(drawn, kind="svg", xmldecl=False, svgns=True, scale=4)
    return drawn.getvalue().decode()


class MfaEnrolment:
    """Switching the second factor of users on and off.

    Args:
        users: hold it.
        tokens: end when it is set up anew.
    """

    def __init__(self, users: Users, tokens: Tokens) -> None:
        self._users = users
        self._tokens = tokens

    async def enable(self, caller: Caller, username: str, backend: str) -> None:
        """Give a user a new secret, to be shown at his next login, and end his tokens.

        Raises:
            Refused: `USER_NOT_FOUND`; `MFA_LOCKED`, `MFA_SELF_ONLY` or `MFA_MGMT_REQUIRED`: the caller may not.
        """
        async with self._users.changing:
            record = self._users.find(username, backend)
            is_self = _is_self(caller, record)
            if record.mfa is not None:
                check_may_manage(caller, record)
            decision: MfaDecision | None = record.mfa_decision if is_self else "required"
            changed = msgspec.structs.replace(record, mfa=new_secret(), mfa_decision=decision)
            await self._users.save(changed, *self._tokens.revoking([user_key(username, backend)]))

    async def disable(self, caller: Caller, username: str, backend: str) -> None:
        """Switch a user's second factor off; his tokens stay.

        Raises:
            Refused: `BAD_REQUEST`: it is off already; else as `enable`.
        """
        async with self._users.changing:
            record = self._users.find(username, backend)
            check_may_manage(caller, record)
            if record.mfa is not None and record.mfa.state == "disabled":
                raise Refused("BAD_REQUEST", "the second factor is disabled already")
            decision: MfaDecision | None = record.mfa_decision if _is_self(caller, record) else "exempted"
            changed = msgspec.structs.replace(record, mfa=Mfa(state="disabled"), mfa_decision=decision)
            await self._users.save(changed)


def check_may_manage(caller: Caller, record: UserRecord) -> None:
    """Check that a caller may change the second factor that a user has.

    Raises:
        Refused: `MFA_LOCKED`: an administrator requires it of the caller; `MFA_SELF_ONLY` or `MFA_MGMT_REQUIRED`: it is
            somebody else's, and the caller is no administrator or lacks the scope.
    """
    has_scope = caller.has_scope(_SCOPE)
    if _is_self(caller, record):
        if not has_scope and record.mfa_decision == "required":
            raise Refused("MFA_LOCKED", "an administrator requires the second factor of this user")
    elif not has_scope:
        raise Refused("MFA_MGMT_REQUIRED", f"the scope {_SCOPE} is needed")
    elif not caller.is_administrator:
        raise Refused("MFA_SELF_ONLY", "only an administrator may change the second factor of others")


def _is_self(caller: Caller, record: UserRecord) -> bool:
    return caller.is_user(record.username) and caller.backend == record.backend
