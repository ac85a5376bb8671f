"""Passwords in the broker's own database (`password_based:built_in_database`).

A user that is not known is ignored, a wrong password is final. Slow hashes run in threads; a password that was found
right not long ago is not hashed again.
"""

from collections.abc import Awaitable

from pybroker.auth.hashing import HashingThreads
from pybroker.auth.judgement import REFUSED, SERVER_BUSY, Judge, Judgement, Pass
from pybroker.auth.passwords import StoredPassword, is_slow, verify_password
from pybroker.auth.users import Login, UserStore
from pybroker.auth.verified import VerifiedPasswords
from pybroker.config.sections.access import BuiltInPasswords
from pybroker.ports import Applicant, Verdict
from pybroker.types import Namespace

_BUSY = Verdict(SERVER_BUSY)
_USER = Verdict(0)
_SUPERUSER = Verdict(0, is_superuser=True)


class BuiltInDatabase(Judge):
    """The authenticator.

    Args:
        settings: its part of the configuration.
        users: who is known; belongs to all generations of this authenticator.
        verified: passwords that were right; likewise.
        threads: for slow hashes.
        nobody: what an unknown user's password is compared with, of the configured algorithm.
    """

    def __init__(
        self,
        settings: BuiltInPasswords,
        users: UserStore[Login],
        verified: VerifiedPasswords,
        threads: HashingThreads,
        nobody: StoredPassword,
    ) -> None:
        self._by_client_id = settings.user_id_type == "clientid"
        self._users = users
        self._verified = verified
        self._threads = threads
        self._nobody = nobody

    def judge(self, applicant: Applicant) -> Judgement | Awaitable[Judgement]:
        """Compare the password of CONNECT with that of the user; what is not a password login is ignored."""
        password, user_id = applicant.connect.password, self._user_id(applicant)
        if password is None or not user_id or applicant.method is not None:
            return Pass.IGNORED
        found = self._users.find(applicant.namespace, user_id)
        if found is None:
            if not is_slow(self._nobody.algorithm):
                verify_password(self._nobody, password)
            return Pass.IGNORED
        namespace, login = found
        if not is_slow(login.password.algorithm):
            return _admitted(login) if verify_password(login.password, password) else REFUSED
        name = cache_name(namespace, user_id)
        if self._verified.knows(name, login.password, password):
            return _admitted(login)
        if self._threads.is_full:
            return _BUSY
        return self._verify(applicant, name, login, password)

    def feign(self, applicant: Applicant) -> Awaitable[None] | None:
        """Hash a password for nobody if the user is unknown and a known one's would have been hashed."""
        password, user_id = applicant.connect.password, self._user_id(applicant)
        if password is None or not user_id or applicant.method is not None or not is_slow(self._nobody.algorithm):
            return None
        if self._threads.is_full or self._users.find(applicant.namespace, user_id) is not None:
            return None
        return self._waste(password)

    async def _verify(self, applicant: Applicant, name: str, login: Login, password: bytes) -> Judgement:
        if not await self._threads.run(self._is_right, name, login.password, password):
            return REFUSED
        # What the user is now counts: a demotion that came meanwhile found no session to change.
        found = self._users.find(applicant.namespace, self._user_id(applicant) or "")
        if found is None or found[1].password != login.password:
            return REFUSED
        self._verified.keep(name, login.password, password)
        return _admitted(found[1])

    def _is_right(self, name: str, stored: StoredPassword, password: bytes) -> bool:
        """Hash a password, unless one like it was found right while it waited for a thread; runs in that thread."""
        return self._verified.knows(name, stored, password) or verify_password(stored, password)

    async def _waste(self, password: bytes) -> None:
        await self._threads.run(verify_password, self._nobody, password)

    def _user_id(self, applicant: Applicant) -> str | None:
        return applicant.client_id if self._by_client_id else applicant.username


def cache_name(namespace: Namespace | None, user_id: str) -> str:
    """Return a user's name in the cache of verified passwords; no namespace holds a control character."""
    return f"{namespace or ''}\x1f{user_id}"


def _admitted(login: Login) -> Verdict:
    return _SUPERUSER if login.is_superuser else _USER
