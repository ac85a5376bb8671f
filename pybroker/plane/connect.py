"""The connect pipeline: from a CONNECT to CONNACK, each step a named function in the order of the contract.

A step returns 0 to go on or the reason code of the refusal. All steps run in one go without a coroutine, unless an
authenticator needs the network; then only that client waits. The will of a refused client is dropped with its
CONNECT. [MQTT5-3.1.4-1] What a reason code is to a 3.x client is said here and nowhere else.
"""

import os
from collections.abc import Awaitable, Callable, Coroutine, Mapping

import structlog

from pybroker._core import CLOSE_PROTOCOL, Connack, Connect, Engine
from pybroker.events import EventBus, Refusal
from pybroker.plane.attributes import NAMESPACE_ATTRIBUTE, merge_attributes
from pybroker.plane.certificate import certificate_text
from pybroker.plane.mountpoint import render_mountpoint
from pybroker.plane.session import Sessions
from pybroker.plane.settings import ConnectSettings
from pybroker.ports import (
    Applicant,
    Authenticator,
    Banned,
    ListenerTraits,
    NamespaceResolver,
    Renewal,
    Verdict,
)
from pybroker.types import ClientId, Mountpoint, Username
from pybroker.variform.template import MOUNTPOINT, Template

logger = structlog.get_logger(__name__)

CONTINUE = 0x18
UNSPECIFIED = 0x80
IMPLEMENTATION_ERROR = 0x83
CLIENT_ID_NOT_VALID = 0x85
NOT_AUTHORIZED = 0x87
SERVER_UNAVAILABLE = 0x88
BANNED = 0x8A
BAD_AUTHENTICATION_METHOD = 0x8C

RETURN_CODES: Mapping[int, int] = {
    0x80: 1,
    0x83: 3,
    0x84: 1,
    0x85: 2,
    0x86: 4,
    0x87: 5,
    0x88: 3,
    0x89: 3,
    0x8A: 5,
    0x8C: 5,
    0x97: 3,
    0x9F: 3,
}
"""Return code of CONNACK for 3.x clients by reason code; what is not listed closes without CONNACK."""

_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def new_client_id() -> ClientId:
    """Return 128 random bits in base 62: 22 letters and digits."""
    number = int.from_bytes(os.urandom(16), "big")
    digits = []
    for _ in range(22):
        number, digit = divmod(number, 62)
        digits.append(_BASE62[digit])
    return ClientId("".join(digits))


class Connector:
    """Answers every CONNECT and AUTH.

    Args:
        engine: carries the answers.
        sessions: opens the sessions of those who are admitted.
        listeners: traits by the engine's number; belongs to the listeners' service.
        authenticator: the chain.
        banned: the list of bans.
        namespaces: from client to tenant.
        events: is told of admissions and refusals.
        spawn: starts a supervised task, for authenticators that are asynchronous.
        settings: of zones that have none of their own in `zones`; both may be replaced while running, and hold for
            the next CONNECT.
    """

    def __init__(
        self,
        engine: Engine,
        sessions: Sessions,
        listeners: Mapping[int, ListenerTraits],
        authenticator: Authenticator,
        banned: Banned,
        namespaces: NamespaceResolver,
        events: EventBus,
        spawn: Callable[[str, Coroutine[object, object, object]], object],
        settings: ConnectSettings,
    ) -> None:
        self.settings = settings
        self.zones: dict[str, ConnectSettings] = {}
        self._engine = engine
        self._sessions = sessions
        self._listeners = listeners
        self._authenticator = authenticator
        self._banned = banned
        self._namespaces = namespaces
        self._events = events
        self._spawn = spawn
        self._waiting: dict[int, Applicant] = {}
        self._templates: dict[str, Template] = {}
        self._renewing: dict[int, Renewal] = {}

    def on_connect(self, conn: int, connect: Connect) -> None:
        """Decide about one CONNECT; answered before this returns unless an authenticator is asynchronous."""
        listener = self._listeners.get(connect.listener)
        if listener is None:
            # The listener was closed while the event was on its way.
            self._engine.refuse(conn, SERVER_UNAVAILABLE, RETURN_CODES[SERVER_UNAVAILABLE])
            return
        applicant = Applicant(conn, connect, listener)
        try:
            reason = self._introduce(applicant)
            if reason:
                self._refuse(applicant, reason)
                return
            verdict = self.authenticate(applicant)
            if isinstance(verdict, Verdict):
                self._conclude(applicant, verdict)
            else:
                self._wait_for(applicant, verdict)
        except BaseException:
            # The pump refuses the client; what is reserved for it must not stay so.
            self._namespaces.let_go(applicant)
            raise

    def on_auth(self, conn: int, slot: int, method: str, data: bytes) -> None:
        """Take the next step of an enhanced authentication, or of a re-authentication when `slot` has a session."""
        applicant = self._waiting.pop(conn, None)
        if applicant is not None:
            self._proceed(applicant, data)
            return
        session = self._sessions.connected_at(slot, conn)
        if session is None:
            self._engine.refuse(conn, BAD_AUTHENTICATION_METHOD, 0)
            return
        renewal = self._renewing.get(conn)
        if renewal is None or renewal.method != method:
            renewal = Renewal(session.client_id, session.username, session.namespace, method)
            self._renewing[conn] = renewal
        again = self._authenticator.authenticate_again(renewal, data)
        if isinstance(again, Verdict):
            self._answer_again(conn, method, again)
        else:
            self._spawn("authenticate_again", self._finish_again(conn, method, again))

    def on_closed(self, conn: int) -> None:
        """Forget an applicant whose connection has ended before it was answered."""
        applicant = self._waiting.pop(conn, None)
        if applicant is not None:
            self._namespaces.let_go(applicant)
        self._renewing.pop(conn, None)

    # The steps, in their order.

    def _introduce(self, applicant: Applicant) -> int:
        """Take the steps before authentication."""
        return (
            self.limit_expiry(applicant)
            or self.check_validity(applicant)
            or self.choose_username(applicant)
            or self.choose_client_id(applicant)
            or self.resolve_namespace(applicant)
            or self.check_banned(applicant)
            or self.count_connect(applicant)
            or self.check_anonymous(applicant)
            or self._namespaces.judge(applicant)
        )

    def limit_expiry(self, applicant: Applicant) -> int:
        """Fix how long the session will outlive its connection, and the keep alive."""
        settings = self._settings_of(applicant)
        if applicant.version == 5:
            applicant.expiry_s = min(applicant.connect.session_expiry_s, settings.max_session_expiry_s)
            if settings.server_keep_alive_s:
                applicant.keep_alive_s = settings.server_keep_alive_s  # [MQTT5-3.2.2-21]
        elif not applicant.is_clean_start:
            # NOTE: 3.x keeps such a session without limit [MQTT3-3.1.2-4]; a bound is allowed by 3.1.1, 3.1.2.4.
            applicant.expiry_s = settings.session_expiry_s
        return 0

    def check_validity(self, applicant: Applicant) -> int:
        """Refuse client ids that are too long, or empty where 3.x does not allow it.

        Spec: [MQTT3-3.1.3-8]
        """
        client_id = applicant.client_id
        if not client_id:
            has_no_way = applicant.version == 3 or (applicant.version == 4 and not applicant.is_clean_start)
            return CLIENT_ID_NOT_VALID if has_no_way else 0
        return self._check_length(applicant, client_id)

    def choose_username(self, applicant: Applicant) -> int:
        """Take the user name from the client certificate where that is configured and there is one."""
        field = self._settings_of(applicant).certificate_as_username
        if field is not None:
            text = certificate_text(applicant.connect, field)
            if text:
                applicant.username = Username(text)
        return 0

    def choose_client_id(self, applicant: Applicant) -> int:
        """Take the client id from certificate or user name, or make one.

        Spec: [MQTT5-3.1.3-6] [MQTT3-3.1.3-6]
        """
        settings = self._settings_of(applicant)
        is_empty = not applicant.client_id
        chosen = ""
        if settings.certificate_as_client_id is not None:
            chosen = certificate_text(applicant.connect, settings.certificate_as_client_id)
        if not chosen and settings.takes_username_as_client_id:
            chosen = applicant.username or ""
            if not chosen:
                return CLIENT_ID_NOT_VALID
        if chosen:
            applicant.client_id = applicant.declared_client_id = ClientId(chosen)
            applicant.is_assigned = is_empty
            return self._check_length(applicant, applicant.client_id)
        if is_empty:
            applicant.client_id = applicant.declared_client_id = new_client_id()
            applicant.is_assigned = True
        return 0

    def resolve_namespace(self, applicant: Applicant) -> int:
        """Set attributes and namespace, and override the client id where that is configured."""
        self._namespaces.resolve(applicant)
        return 0

    def check_banned(self, applicant: Applicant) -> int:
        """Refuse those who are on the list."""
        return BANNED if self._banned.is_banned(applicant) else 0

    def count_connect(self, applicant: Applicant) -> int:
        """Refuse those who connect too often; counted whatever comes of it."""
        return BANNED if self._banned.count_connect(applicant) else 0

    def check_anonymous(self, applicant: Applicant) -> int:
        """Refuse clients without a user name where the listener wants that before anybody is asked."""
        is_refused = applicant.listener.enable_authn == "quick_deny_anonymous" and not applicant.username
        return NOT_AUTHORIZED if is_refused else 0

    def authenticate(self, applicant: Applicant) -> Verdict | Awaitable[Verdict]:
        """Ask the chain, unless the listener's clients are not to pass it."""
        if applicant.listener.enable_authn is False:
            # No chain, hence no mechanism. [MQTT5-4.12.0-1]
            return Verdict(0 if applicant.method is None else BAD_AUTHENTICATION_METHOD)
        return self._authenticator.authenticate(applicant)

    def merge_verdict(self, applicant: Applicant, verdict: Verdict) -> int:
        """Put what authentication found over what is known; bans and gate are asked again about what has changed."""
        namespace, client_id, username = applicant.namespace, applicant.client_id, applicant.username
        applicant.is_superuser = verdict.is_superuser
        applicant.acl = verdict.acl
        applicant.expire_at_s = verdict.expire_at_s
        applicant.disconnects_at_expiry = verdict.disconnects_at_expiry
        if verdict.attributes is not None:
            merge_attributes(applicant, verdict.attributes)
        if verdict.namespace is not None:
            merge_attributes(applicant, {NAMESPACE_ATTRIBUTE: verdict.namespace})
        if verdict.client_id:
            applicant.client_id = verdict.client_id
        if verdict.username:
            applicant.username = verdict.username
        if verdict.zone:
            applicant.zone = verdict.zone
        reason = self._namespaces.resolve_again(applicant, namespace, bool(verdict.client_id))
        if not reason and (applicant.client_id != client_id or applicant.username != username):
            reason = self.check_banned(applicant)
        return reason or self._namespaces.judge_again(applicant)

    def fix_mountpoint(self, applicant: Applicant) -> int:
        """Render the listener's mountpoint, else take the namespace's; both see the final client id."""
        template = applicant.listener.mountpoint
        mountpoint = self._render(template, applicant) if template else self._namespaces.mountpoint(applicant)
        if mountpoint is None:
            logger.warning("mountpoint_refused", clientid=applicant.client_id, mountpoint=template)
            return NOT_AUTHORIZED
        applicant.mountpoint = mountpoint
        return 0

    def open_session(self, applicant: Applicant, verdict: Verdict) -> None:
        """Open or resume the session and answer CONNACK 0."""
        session, is_present = self._sessions.open(applicant)
        connack = self._connack(applicant, verdict) if applicant.version == 5 else None
        self._namespaces.let_go(applicant)
        self._engine.accept(applicant.conn, session.slot, is_present, applicant.keep_alive_s, connack)
        self._events.client_connected.emit(session)

    # What binds the steps together.

    def _conclude(self, applicant: Applicant, verdict: Verdict) -> None:
        """Take the steps after authentication and answer."""
        if verdict.reason == CONTINUE:
            self._waiting[applicant.conn] = applicant
            challenge = Connack(authentication_method=applicant.method, authentication_data=verdict.data)
            self._engine.challenge(applicant.conn, CONTINUE, challenge)
            return
        try:
            reason = verdict.reason or self.merge_verdict(applicant, verdict) or self.fix_mountpoint(applicant)
            if reason:
                self._refuse(applicant, reason, verdict.reason_string)
                return
            self._events.client_admitted.emit(applicant)
            self.open_session(applicant, verdict)
        except BaseException:
            self._namespaces.let_go(applicant)
            raise

    def _proceed(self, applicant: Applicant, data: bytes) -> None:
        """Take the next step of an enhanced authentication that is under way."""
        try:
            # As in `_finish`: a ban that came between two steps found no session to end.
            is_banned = self._banned.is_banned(applicant)
            verdict = Verdict(BANNED) if is_banned else self._authenticator.proceed(applicant, data)
            if isinstance(verdict, Verdict):
                self._conclude(applicant, verdict)
            else:
                self._wait_for(applicant, verdict)
        except BaseException:
            # As for CONNECT: nobody else gives back what it holds.
            self._namespaces.let_go(applicant)
            raise

    def _refuse(self, applicant: Applicant, reason: int, reason_string: str | None = None) -> None:
        self._namespaces.let_go(applicant)
        connack = None if reason_string is None else Connack(reason_string=reason_string)
        self._engine.refuse(applicant.conn, reason, RETURN_CODES.get(reason, 0), connack)
        self._events.client_refused.emit(Refusal(applicant, reason))

    def _connack(self, applicant: Applicant, verdict: Verdict) -> Connack | None:
        """Return what a 5.0 client must be told beside the engine's limits; `None` for nothing."""
        settings, connect = self._settings_of(applicant), applicant.connect
        keep_alive_s = settings.server_keep_alive_s or None
        expiry_s = None if connect.session_expiry_s == applicant.expiry_s else applicant.expiry_s
        # The id before any override: a client that comes back with it is given the same name again. [MQTT5-3.2.2-16]
        assigned = applicant.declared_client_id if applicant.is_assigned else None
        response = settings.response_information or None
        if response is not None and not connect.requests_response_information:
            response = None
        told = (keep_alive_s, expiry_s, assigned, response, applicant.method)
        if all(value is None for value in told):
            return None
        return Connack(
            assigned_client_id=assigned,
            server_keep_alive_s=keep_alive_s,
            session_expiry_s=expiry_s,
            response_information=response,
            authentication_method=applicant.method,
            authentication_data=verdict.data,
        )

    def _settings_of(self, applicant: Applicant) -> ConnectSettings:
        return self.zones.get(applicant.zone, self.settings) if self.zones else self.settings

    def _render(self, text: str, applicant: Applicant) -> Mountpoint | None:
        """Return the prefix that a listener's template gives a client; `None` if it cannot be used."""
        template = self._templates.get(text)
        if template is None:
            template = self._templates[text] = Template(text, MOUNTPOINT)
        keeps = self._settings_of(applicant).keeps_placeholders
        return render_mountpoint(template, applicant, keeps)

    def _check_length(self, applicant: Applicant, client_id: ClientId) -> int:
        most = self._settings_of(applicant).max_client_id_bytes
        if len(client_id) > most or (not client_id.isascii() and len(client_id.encode()) > most):
            return CLIENT_ID_NOT_VALID  # [MQTT5-3.1.3-8] [MQTT3-3.1.3-9]
        return 0

    def _wait_for(self, applicant: Applicant, verdict: Awaitable[Verdict]) -> None:
        self._waiting[applicant.conn] = applicant
        self._spawn("authenticate", self._finish(applicant, verdict))

    async def _finish(self, applicant: Applicant, awaited: Awaitable[Verdict]) -> None:
        verdict = Verdict(UNSPECIFIED)
        try:
            verdict = await awaited
        finally:
            # A connection that has gone meanwhile was forgotten; it must not take over a live one.
            if self._waiting.pop(applicant.conn, None) is applicant:
                if self._banned.is_banned(applicant):
                    # A ban that came while it waited found no session to end.
                    verdict = Verdict(BANNED)
                self._conclude(applicant, verdict)

    async def _finish_again(self, conn: int, method: str, awaited: Awaitable[Verdict]) -> None:
        verdict = Verdict(UNSPECIFIED)
        try:
            verdict = await awaited
        finally:
            self._answer_again(conn, method, verdict)

    def _answer_again(self, conn: int, method: str, verdict: Verdict) -> None:
        """Answer a re-authentication; a refused one ends the connection.

        Spec: [MQTT5-4.12.1-2]
        """
        if verdict.reason != CONTINUE:
            self._renewing.pop(conn, None)
        if verdict.reason >= 0x80:
            self._engine.disconnect(conn, verdict.reason, CLOSE_PROTOCOL)
            return
        answer = Connack(authentication_method=method, authentication_data=verdict.data)
        self._engine.challenge(conn, verdict.reason, answer)
