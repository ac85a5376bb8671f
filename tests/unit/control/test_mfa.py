"""Who may change the second factor of whom, and which codes count."""

import pyotp
import pytest

from pybroker.control.caller import Caller
from pybroker.control.mfa import check_may_manage, new_secret, qr_code, step_of
from pybroker.errors import Refused
from pybroker.persistence.records import MfaDecision, UserRecord

_NOW_MS = 1_767_225_600_000


def _caller(name: str, role: str, *, has_scope: bool, backend: str = "local") -> Caller:
    scopes = ("mfa_management",) if has_scope else ()
    return Caller(kind="user", name=name, backend=backend, role=role, scopes=scopes)


@pytest.mark.parametrize(
    ("caller", "decision", "code"),
    [
        (_caller("bob", "viewer", has_scope=True), "required", ""),
        (_caller("bob", "viewer", has_scope=False), None, ""),
        (_caller("bob", "viewer", has_scope=False), "exempted", ""),
        (_caller("bob", "viewer", has_scope=False), "required", "MFA_LOCKED"),
        (_caller("boss", "administrator", has_scope=True), "required", ""),
        (_caller("eve", "viewer", has_scope=True), None, "MFA_SELF_ONLY"),
        (_caller("boss", "administrator", has_scope=False), None, "MFA_MGMT_REQUIRED"),
        (_caller("bob", "viewer", has_scope=True, backend="ldap"), None, "MFA_SELF_ONLY"),
    ],
)
def test_decision_table(caller: Caller, decision: MfaDecision | None, code: str) -> None:
    record = UserRecord(username="bob", mfa=new_secret(), mfa_decision=decision)
    if not code:
        check_may_manage(caller, record)
        return
    with pytest.raises(Refused) as caught:
        check_may_manage(caller, record)
    assert caught.value.code == code


@pytest.mark.parametrize(("shift_s", "counts"), [(-60, False), (-30, True), (0, True), (30, True), (60, False)])
def test_codes_of_the_neighbouring_steps_count(shift_s: int, counts: bool) -> None:
    mfa = new_secret()
    code = pyotp.TOTP(mfa.secret).at(_NOW_MS // 1_000 + shift_s)
    assert (step_of(mfa, code, _NOW_MS) is not None) == counts


@pytest.mark.parametrize("code", ["", "12345", "abcdef", "١٢٣٤٥٦", "000000000"])
def test_other_texts_are_no_codes(code: str) -> None:
    assert step_of(new_secret(), code, _NOW_MS) is None


def test_qr_code_is_one_svg_element() -> None:
    drawn = qr_code("bob", new_secret().secret)
    assert drawn.startswith("<svg")
    assert "http://www.w3.org/2000/svg" in drawn
