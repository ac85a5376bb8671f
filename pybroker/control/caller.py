"""Who asks: the identity behind one request, as the credential told it."""

from typing import Literal

import msgspec

from pybroker.control.scopes import effective_scopes

CallerKind = Literal["user", "api_key"]


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """A user with a token, or a script with an API key.

    Args:
        kind: which of the two.
        name: user name, or the key string.
        backend: of a user, such as `local`; empty for a key.
        role: bare role: `administrator`, `viewer` or `publisher`.
        namespace: it is bound to; `None`: global.
        scopes: explicit list; `None`: those of the role.
        token_id: of the token that was shown; empty for a key.
    """

    kind: CallerKind
    name: str
    backend: str = ""
    role: str
    namespace: str | None = None
    scopes: tuple[str, ...] | None = None
    token_id: str = ""

    @property
    def is_administrator(self) -> bool:
        """Whether the role is administrator, global or of a namespace."""
        return self.role == "administrator"

    @property
    def is_global_administrator(self) -> bool:
        """Whether it is an administrator outside of all namespaces."""
        return self.is_administrator and self.namespace is None

    def is_user(self, username: str) -> bool:
        """Return whether the caller is the user of that bare name."""
        return self.kind == "user" and self.name == username

    def has_scope(self, scope: str) -> bool:
        """Return whether one of the 14 scopes covers the caller, by its list or by its role."""
        if self.kind == "api_key":
            return self.role == "publisher" or self.scopes is None or scope in self.scopes
        if self.scopes is None:
            return scope in effective_scopes(self.role, self.namespace)
        return scope in self.scopes
