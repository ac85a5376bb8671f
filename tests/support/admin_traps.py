"""The behaviours of the administration that are easily got wrong, and the tests of each, by the contract's numbers."""

from typing import NamedTuple

__all__ = ["LATER", "TRAPS", "Trap"]


class Trap(NamedTuple):
    """One behaviour.

    Args:
        title: what must hold.
        tests: `file::function` below `tests/`; all of them together show it.
    """

    title: str
    tests: tuple[str, ...]


_USERS = "unit/admin/test_users.py::test_"
_KEYS = "unit/admin/test_api_keys.py::test_"
_LOGIN = "unit/admin/test_login.py::test_"
_MFA = "unit/admin/test_mfa.py::test_"
_OWN = "unit/admin/test_traps.py::test_"

LATER: dict[int, str] = {39: "data", 40: "data", 41: "data", 44: "sso", 45: "sso"}
"""Behaviours of parts that the broker does not have, by the first segment of their paths."""

TRAPS: dict[int, Trap] = {
    1: Trap(
        "All scopes in any order unset those of the default administrator",
        (f"{_USERS}full_scopes_in_any_order_unset_those_of_the_default_administrator",),
    ),
    2: Trap("The default administrator cannot be restricted", (f"{_USERS}default_administrator_cannot_be_weakened",)),
    3: Trap(
        "A demotion needs scopes that the role may hold", (f"{_USERS}demotion_needs_scopes_that_the_role_may_hold",)
    ),
    4: Trap("A PUT without role makes an administrator", (f"{_USERS}update_without_role_makes_an_administrator",)),
    5: Trap("A new user needs a description", (f"{_USERS}description_is_required",)),
    6: Trap("A viewer reads clients and not users", (f"{_OWN}viewer_reads_clients_and_not_users",)),
    7: Trap(
        "Without any scope the own password is changed, the own record is not",
        (f"{_OWN}user_without_scopes_changes_his_password_and_not_his_record",),
    ),
    8: Trap("No privilege replaces the old password", (f"{_USERS}administrator_needs_the_old_password_too",)),
    9: Trap(
        "The token that changed a password is worth nothing then",
        (f"{_USERS}own_password_change_ends_the_token_that_made_it",),
    ),
    10: Trap(
        "Description and scopes change under a live token",
        (
            f"{_USERS}role_change_ends_tokens_and_scope_change_does_not",
            f"{_USERS}changed_scopes_act_on_live_tokens",
        ),
    ),
    11: Trap("The expiry of a token slides", (f"{_LOGIN}expiry_slides_with_every_use",)),
    12: Trap(
        "Five wrong passwords lock; unknown users never do",
        (f"{_LOGIN}fifth_wrong_password_locks_even_the_right_one", f"{_LOGIN}unknown_users_never_lock"),
    ),
    13: Trap("A verified code is judged before the password", (f"{_MFA}wrong_code_is_judged_before_the_password",)),
    14: Trap(
        "A pending secret is shown, a verified one never again",
        (
            f"{_MFA}pending_secret_is_shown_for_the_right_password_only",
            f"{_MFA}secret_never_appears_again_after_the_first_right_code",
        ),
    ),
    15: Trap(
        "A second factor is switched off once, and set up without a body",
        (f"{_OWN}second_factor_is_set_up_and_switched_off_by_an_administrator",),
    ),
    16: Trap("Account endpoints refuse keys before they verify them", (f"{_OWN}key_is_no_credential_for_accounts",)),
    17: Trap(
        "Disabled, expired and mistyped keys look alike",
        (f"{_KEYS}disabled_and_expired_keys_are_refused_like_wrong_ones",),
    ),
    18: Trap("A PUT of a key resets role and expiry", (f"{_KEYS}update_without_role_and_expiry_resets_both",)),
    19: Trap("Default scopes of a key cannot be sent back", (f"{_KEYS}default_scopes_cannot_be_sent_back",)),
    20: Trap("There are 100 keys at most", (f"{_KEYS}hundred_and_first_key_is_refused",)),
    21: Trap("A secret is shown once, then its field is gone", (f"{_KEYS}new_key_shows_its_secret_once",)),
    22: Trap(
        "Keys of other namespaces do not exist for a namespaced administrator",
        (f"{_KEYS}administrator_of_a_namespace_sees_his_own_keys_only",),
    ),
    23: Trap(
        "A namespaced administrator makes no users, reads all clients and no payloads",
        (f"{_OWN}namespaced_administrator_reads_clients_and_neither_makes_users_nor_reads_payloads",),
    ),
    24: Trap("Reserved namespaces are refused in roles", (f"{_USERS}bad_roles_are_refused",)),
    25: Trap("Replies split role and namespace", (f"{_USERS}namespaced_role_is_split_in_replies",)),
    26: Trap("Privileged scopes mix in namespaces only", (f"{_USERS}lists_of_scopes_are_checked",)),
    27: Trap(
        "A publisher key publishes and reads nothing",
        ("unit/admin/test_publish.py::test_publisher_key_publishes_and_does_nothing_else",),
    ),
    28: Trap(
        "Nobody subscribed is 202 without an id",
        ("unit/admin/test_publish.py::test_nobody_is_202_without_an_id_and_still_retained",),
    ),
    29: Trap(
        "One bad message of a bulk stops all", ("unit/admin/test_publish.py::test_one_bad_message_of_a_bulk_stops_all",)
    ),
    30: Trap(
        "Scope and self are judged by the decoded path",
        (f"{_MFA}self_is_compared_after_decoding_the_path", f"{_OWN}encoded_name_is_compared_decoded"),
    ),
    31: Trap(
        "A wrong method is 405 before 401",
        ("unit/admin/test_attacks.py::test_wrong_method_is_told_before_anything_else",),
    ),
    32: Trap("Limits out of range are refused by every list", (f"{_OWN}limit_out_of_range_is_refused_by_every_list",)),
    33: Trap("A fuzzy list has no count", ("unit/admin/test_clients.py::test_fuzzy_list_has_no_count",)),
    34: Trap(
        "A ban is answered as an object; a second one and a past one are refused",
        (
            "unit/admin/test_banned.py::test_ban_is_answered_as_it_is_stored",
            "unit/admin/test_banned.py::test_second_ban_of_the_same_tells_the_first",
            "unit/admin/test_banned.py::test_bad_ban_is_refused",
        ),
    ),
    35: Trap("Two filters of bans are refused", ("unit/admin/test_banned.py::test_bad_filter_is_refused",)),
    36: Trap("An unknown alarm is 400 NOT_FOUND", ("unit/admin/test_alarms.py::test_unknown_alarm_is_400",)),
    37: Trap(
        "A stopped listener stays stopped",
        ("unit/admin/test_listeners.py::test_stopped_listener_stays_stopped_after_a_restart",),
    ),
    38: Trap(
        "The audit log is a 400 while off, and leaves publishing out",
        (
            "unit/admin/test_audit.py::test_disabled_log_is_a_bad_request",
            "unit/admin/test_publish.py::test_publishing_is_audited_only_on_demand",
        ),
    ),
    42: Trap(
        "The end of a trace is answered with its name and enable false",
        ("unit/admin/test_traces.py::test_stop_answers_name_and_enable_alone",),
    ),
    43: Trap(
        "One topic is an array",
        ("unit/admin/test_subscriptions.py::test_one_topic_is_an_array_even_for_one_row",),
    ),
    46: Trap("A key named like a user is not that user", (f"{_KEYS}key_named_like_a_user_is_not_that_user",)),
    47: Trap(
        "Unknown scopes of the bootstrap file are dropped, unknown roles stop it",
        (
            "unit/control/test_bootstrap.py::test_unknown_scopes_are_dropped_and_a_mix_keeps_the_rest",
            "unit/control/test_bootstrap.py::test_bad_line_loads_none",
        ),
    ),
    48: Trap(
        "A failed login is recorded with its password masked",
        ("unit/admin/test_audit.py::test_failed_login_is_recorded_with_its_password_masked",),
    ),
}
"""By number."""
