"""Logging in and out: password, second factor, and the locks that end guessing.

What is said to whom, in this order: a locked account is locked; with a verified second factor a wrong code is judged
before the password, so that nobody learns about it; an unknown user costs the same time as a wrong password.
"""

import msgspec
import structlog

from pybroker.clock import Clock
from pybroker.control.caller import Caller
from pybroker.control.configuration import Configuration
from pybroker.control.mfa import new_secret, qr_code, step_of
from pybroker.control.password import PasswordHasher
from pybroker.control.throttle import Limits, Throttle
from pybroker.control.tokens import Tokens
from pybroker.control.users import Users, user_key
from pybroker.errors import Refused
from pybroker.persistence.records import Mfa, UserRecord

logger = structlog.get_logger(__name__)

_FACTORY_PASSWORD = "public"
_BAD_PASSWORD = ("BAD_USERNAME_OR_PWD", "username or password is wrong")


class LoggedIn(msgspec.Struct, frozen=True, kw_only=True):
    """A successful login.

    Args:
        token: secret; shown once.
        user: as stored.
        password_expires_in_s: may be negative; `None`: passwords do not age.
    """

    token: str
    user: UserRecord
    password_expires_in_s: int | None


class Logins:
    """The way in and out for users with a password.

    Args:
        users: who exists.
        tokens: what a login yields.
        hasher: verifies passwords.
        clock: tells the time.
        wrong_passwords: counts them by user.
        wrong_codes: counts those beside the right password; nobody else can shut a user out with them.
        configuration: knows the limits.
    """

    def __init__(
        self,
        users: Users,
        tokens: Tokens,
        hasher: PasswordHasher,
        clock: Clock,
        wrong_passwords: Throttle,
        wrong_codes: Throttle,
        configuration: Configuration,
    ) -> None:
        self._users = users
        self._tokens = tokens
        self._hasher = hasher
        self._clock = clock
        self._configuration = configuration
        self._wrong_passwords = wrong_passwords
        self._wrong_codes = wrong_codes

    async def log_in(self, username: str, password: str, code: str | None) -> LoggedIn:
        """Return a token for the right password and, where one is set up, the right code.

        Args:
            username: of a local user.
            password: as typed.
            code: of the second factor; `None`: not given.

        Raises:
            Refused: `LOGIN_LOCKED`, `BAD_USERNAME_OR_PWD`, or `BAD_MFA_TOKEN` with an object.
        """
        key = user_key(username)
        known = self._users.table.get(key)
        if known is not None:
            self._check_lock(known)
        is_right = await self._hasher.verify(known.password_hash if known else None, password)
        async with self._users.changing:
            user = self._users.table.get(key)
            if user is None or known is None:
                raise Refused(*_BAD_PASSWORD)
            # Others may have failed, or the password may have changed, while this one was verified.
            self._check_lock(user)
            is_right = is_right and user.password_hash == known.password_hash
            user = await self._check_factors(user, is_right, code)
            return await self._admit(user, password)

    async def log_out(self, caller: Caller, username: str, backend: str) -> None:
        """End the token that was shown.

        Raises:
            Refused: `WRONG_TOKEN_OR_USERNAME`: it belongs to somebody else.
        """
        if not caller.is_user(username) or caller.backend != backend:
            raise Refused("WRONG_TOKEN_OR_USERNAME", "the token belongs to another user")
        await self._tokens.revoke(caller.token_id)

    def _check_lock(self, user: UserRecord) -> None:
        if user.locked_until_ms > self._clock.wall_ms():
            raise Refused("LOGIN_LOCKED", "too many wrong passwords, try again later")

    async def _check_factors(self, user: UserRecord, is_right: bool, code: str | None) -> UserRecord:
        """Judge password and code and return the user as he is to be stored on success."""
        mfa = user.mfa
        if mfa is not None and mfa.state == "verified":
            step = self._judge_code(user, mfa, is_right, code)
            if not is_right:
                await self._fail(user)
            return msgspec.structs.replace(user, mfa=msgspec.structs.replace(mfa, last_step=step))
        if not is_right:
            await self._fail(user)
        if mfa is None and self._configuration.current.dashboard.default_mfa is not None:
            mfa = new_secret()
            user = msgspec.structs.replace(user, mfa=mfa)
            await self._users.save(user)
            code = None
        if mfa is not None and mfa.state == "pending":
            step = self._judge_code(user, mfa, is_right, code)
            return msgspec.structs.replace(user, mfa=Mfa(state="verified", secret=mfa.secret, last_step=step))
        return user

    def _judge_code(self, user: UserRecord, mfa: Mfa, is_right: bool, code: str | None) -> int:
        """Return the step of a right code.

        Raises:
            Refused: `BAD_MFA_TOKEN`: it is missing or wrong, or too many were.
        """
        if not code:
            missing: dict[str, object] = {"mechanism": "totp", "error": "missing_mfa_token"}
            if mfa.state == "pending" and is_right:
                missing |= {"secret": mfa.secret, "qr_code": qr_code(user.username, mfa.secret)}
            raise Refused("BAD_MFA_TOKEN", missing)
        key = user_key(user.username, user.backend)
        step = None if self._wrong_codes.is_shut(key) else step_of(mfa, code, self._clock.wall_ms())
        if step is None:
            if is_right:
                self._wrong_codes.fail(key)
            raise Refused("BAD_MFA_TOKEN", {"mechanism": "totp", "error": "bad_mfa_token"})
        return step

    async def _fail(self, user: UserRecord) -> None:
        """Count a wrong password, lock the account when there were too many, and refuse.

        Raises:
            Refused: always, `BAD_USERNAME_OR_PWD`.
        """
        key = user_key(user.username, user.backend)
        if self._wrong_passwords.fail(key):
            self._wrong_passwords.forget(key)
            duration_ms = self._configuration.current.dashboard.unsuccessful_login_lock_duration
            locked = msgspec.structs.replace(user, locked_until_ms=self._clock.wall_ms() + duration_ms)
            await self._users.save(locked)
            logger.warning("login_locked", username=user.username)
        raise Refused(*_BAD_PASSWORD)

    async def _admit(self, user: UserRecord, password: str) -> LoggedIn:
        key = user_key(user.username, user.backend)
        configuration = self._configuration.current
        if configuration.security_profile == "hardened" and password == _FACTORY_PASSWORD:
            raise Refused(
                "BAD_USERNAME_OR_PWD", "the factory password cannot log in: pybroker ctl admins passwd USER PASSWORD"
            )
        self._wrong_passwords.forget(key)
        self._wrong_codes.forget(key)
        unlocked = msgspec.structs.replace(user, locked_until_ms=0)
        token = await self._tokens.issue(key, unlocked, self._users.table.put(key, unlocked))
        age_ms = configuration.dashboard.password_expired_time
        expires_in_s = (unlocked.password_changed_ms + age_ms - self._clock.wall_ms()) // 1_000 if age_ms else None
        return LoggedIn(token=token, user=unlocked, password_expires_in_s=expires_in_s)


def login_limits(configuration: Configuration) -> Limits:
    """Return how many failures lock an account, as the configuration says now."""
    dashboard = configuration.current.dashboard
    return Limits(
        max_failures=dashboard.unsuccessful_login_max_attempts,
        interval_ms=dashboard.unsuccessful_login_interval,
        shut_ms=dashboard.unsuccessful_login_lock_duration,
    )
