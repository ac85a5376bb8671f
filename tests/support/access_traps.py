"""The behaviours of access control that are easily got wrong, and the tests of each, by the contract's numbers."""

from tests.support.admin_traps import Trap

__all__ = ["TRAPS"]

_CLIENT = "e2e/test_authorization.py::test_"
_SOURCE = "e2e/test_authorization_sources.py::test_"
_RACE = "e2e/test_authorization_races.py::test_"
_LOGIN = "e2e/test_authentication.py::test_"
_RULES = "unit/admin/test_authorization_rules.py::test_"
_REST = "unit/admin/test_authorization_sources.py::test_"
_CSV = "unit/admin/test_authorization_csv.py::test_"
_JUDGE = "unit/auth/test_authorizer.py::test_"
_EXAMPLES = (
    "e2e/test_authorization_examples.py::test_filters_are_granted_as_the_examples_say",
    "e2e/test_authorization_examples.py::test_topics_are_published_as_the_examples_say",
)

TRAPS: dict[int, Trap] = {
    1: Trap(
        "An allow rule of one level grants a subtree only if rules are read as EMQX does",
        (f"{_CLIENT}allow_rule_must_cover_the_whole_filter_unless_read_as_emqx", *_EXAMPLES),
    ),
    2: Trap(
        "A deny rule does not cut a hole into a wider filter",
        (f"{_CLIENT}deny_rule_does_not_cut_a_hole_into_a_wider_filter", *_EXAMPLES),
    ),
    3: Trap(
        "A hash for all users leaves dollar topics to the mode",
        (f"{_CLIENT}hash_for_all_users_does_not_reach_dollar_topics",),
    ),
    4: Trap(
        "Deny all in a file reaches dollar topics",
        (
            f"{_SOURCE}deny_all_of_a_file_denies_dollar_topics_and_a_hash_does_not",
            "unit/auth/sources/test_file.py::test_deny_all_denies_dollar_topics_too_but_a_hash_does_not",
        ),
    ),
    5: Trap(
        "A hash and the system topics never stand for each other",
        (f"{_SOURCE}hash_never_stands_for_system_topics_nor_they_for_it", *_EXAMPLES),
    ),
    6: Trap("A shared filter is judged without its group", (f"{_CLIENT}shared_filter_is_judged_without_its_group",)),
    7: Trap("A literal rule expands nothing", (f"{_CLIENT}eq_is_literal_and_a_hash_covers_its_parent",)),
    8: Trap("A hash covers its parent", (f"{_CLIENT}eq_is_literal_and_a_hash_covers_its_parent", *_EXAMPLES)),
    9: Trap(
        "A user name that is absent opens nothing",
        (
            f"{_CLIENT}placeholder_without_a_usable_value_opens_nothing",
            f"{_SOURCE}every_rule_of_an_attribute_that_is_missing_is_passed_over",
        ),
    ),
    10: Trap(
        "A user name that is a wildcard matches nothing, or denies where the broker is hardened",
        (
            f"{_CLIENT}placeholder_without_a_usable_value_opens_nothing",
            f"{_SOURCE}user_name_that_is_a_wildcard_matches_nothing_or_denies",
        ),
    ),
    11: Trap(
        "A slash in a user name is as bad",
        (
            f"{_CLIENT}placeholder_without_a_usable_value_opens_nothing",
            f"{_SOURCE}user_name_that_is_a_wildcard_matches_nothing_or_denies",
        ),
    ),
    12: Trap(
        "Rules of the client id come before those of the user name, both before all",
        (f"{_CLIENT}lists_are_asked_from_the_narrowest_to_the_widest",),
    ),
    13: Trap("An empty list falls through", (f"{_CLIENT}lists_are_asked_from_the_narrowest_to_the_widest",)),
    14: Trap(
        "A denied QoS is not lowered",
        (f"{_CLIENT}qos_that_is_denied_is_not_lowered_and_retain_concerns_publishing_only",),
    ),
    15: Trap(
        "Retain in a rule does not restrict subscribing",
        (f"{_CLIENT}qos_that_is_denied_is_not_lowered_and_retain_concerns_publishing_only",),
    ),
    16: Trap(
        "An old client takes a denied publish for a success, and it reaches nobody",
        (f"{_CLIENT}denied_publish_reaches_nobody_and_is_answered_by_version",),
    ),
    17: Trap(
        "A denied QoS 2 exchange is over with PUBREC",
        (f"{_CLIENT}denied_publish_reaches_nobody_and_is_answered_by_version",),
    ),
    18: Trap(
        "One denied filter of three ends the connection where that is the policy",
        (f"{_CLIENT}one_denied_filter_of_three_ends_the_connection_without_any_subscription",),
    ),
    19: Trap(
        "A will to a denied topic vanishes",
        (
            f"{_CLIENT}will_to_a_denied_topic_vanishes",
            f"{_CLIENT}will_is_judged_when_it_is_sent",
            f"{_RACE}will_is_judged_by_the_rules_at_its_end_even_if_they_were_wider_before",
        ),
    ),
    20: Trap(
        "A superuser passes every rule and moves no source",
        (
            f"{_SOURCE}superuser_passes_every_rule_and_moves_no_source",
            f"{_JUDGE}superuser_moves_no_source_counter",
        ),
    ),
    21: Trap(
        "The map of a token is final, its list is not", (f"{_LOGIN}map_of_a_token_is_final_and_its_list_goes_on",)
    ),
    22: Trap(
        "An empty map denies everything, no claim nothing",
        (f"{_LOGIN}empty_rules_of_a_token_deny_everything_and_none_deny_nothing",),
    ),
    23: Trap(
        "A wrong password stops the chain, an unknown user does not",
        (f"{_LOGIN}wrong_password_stops_the_chain_and_unknown_user_does_not",),
    ),
    24: Trap(
        "An existing name among new ones stores nothing",
        (f"{_RULES}post_of_an_existing_name_stores_nothing_of_the_array",),
    ),
    25: Trap(
        "PUT creates, and an empty list exists",
        (f"{_RULES}put_creates_what_is_missing_and_an_empty_list_exists",),
    ),
    26: Trap("Rules are purged while their source is disabled", (f"{_RULES}purge_needs_the_source_disabled",)),
    27: Trap("Without the source there are no rules", (f"{_RULES}without_the_source_there_is_nothing",)),
    28: Trap("A searched list has no count", (f"{_RULES}searched_list_has_no_count",)),
    29: Trap("A new source goes to the front, a second one is 400", (f"{_REST}new_source_goes_to_the_front",)),
    30: Trap(
        "Settings that are not sent return to their defaults",
        ("unit/admin/test_authorization_settings.py::test_settings_are_replaced_whole",),
    ),
    31: Trap(
        "A source that is deleted and made again has no rules",
        (f"{_REST}deleted_built_in_source_takes_its_rules_along",),
    ),
    32: Trap(
        "A rule holds from the next publish on",
        (
            f"{_CLIENT}rule_and_mode_take_effect_on_the_next_packet",
            f"{_RACE}many_changes_and_publishes_never_let_a_denied_one_through",
        ),
    ),
    33: Trap(
        "A subscription that lost its right is taken away (ours; EMQX lets it receive)",
        (
            f"{_CLIENT}subscription_that_lost_its_right_receives_nothing_more",
            f"{_CLIENT}revocation_may_end_the_connection",
            f"{_CLIENT}revocation_may_be_switched_off",
            f"{_RACE}rule_that_comes_while_a_service_judges_holds_for_the_filters_judged_before",
            f"{_RACE}member_that_lost_its_right_gets_no_share_of_a_group",
            f"{_RACE}exclusive_topic_of_a_revoked_subscription_is_free",
            f"{_RACE}rest_publish_is_not_judged_and_rest_subscription_is_revoked",
            f"{_LOGIN}demoted_superuser_loses_his_rights_at_once",
            f"{_LOGIN}connection_may_outlive_its_token_without_rights",
            "unit/auth/test_revocation.py::test_remote_sources_are_asked_for_connected_clients_only_and_slowly",
            "unit/auth/test_revocation.py::test_messages_that_wait_for_a_revoked_subscription_go_with_it",
        ),
    ),
    34: Trap(
        "A verdict is kept for its QoS and retain flag only",
        (f"{_CLIENT}verdict_is_kept_for_its_qos_and_retain_flag_only",),
    ),
    35: Trap(
        "Verdicts on subscriptions are not kept", (f"{_CLIENT}kept_verdicts_of_a_client_are_listed_and_forgotten",)
    ),
    36: Trap(
        "One rule of its own keeps a namespace from the global ones",
        (f"{_SOURCE}rule_of_its_own_keeps_a_namespace_from_the_global_ones",),
    ),
    37: Trap(
        "Publish allowed and subscribe denied hold side by side",
        (
            f"{_SOURCE}rules_of_one_topic_hold_side_by_side_and_of_equal_ones_the_last",
            f"{_RULES}publish_allow_and_subscribe_deny_of_one_topic_both_hold",
        ),
    ),
    38: Trap(
        "Of equal rules the last permission counts and both are shown",
        (
            f"{_SOURCE}rules_of_one_topic_hold_side_by_side_and_of_equal_ones_the_last",
            f"{_RULES}of_equal_rules_the_last_permission_counts_and_both_are_shown",
        ),
    ),
    39: Trap("A later row of a file wins", (f"{_CSV}later_row_of_a_topic_wins",)),
    40: Trap(
        "One bad row imports nothing and is named by its line",
        (f"{_CSV}bad_row_is_named_by_line_and_field_and_nothing_is_stored",),
    ),
    41: Trap(
        "A row without a name never means all users",
        (f"{_CSV}bad_row_is_named_by_line_and_field_and_nothing_is_stored",),
    ),
    42: Trap(
        "A service that answers with an error is ignored, or denies where the broker is hardened",
        (
            f"{_SOURCE}service_that_answers_with_an_error_is_ignored_or_denies",
            f"{_JUDGE}answer_of_a_remote_source",
            "unit/auth/sources/test_web.py::test_meaning_of_an_answer",
        ),
    ),
    43: Trap(
        "A precondition that does not hold moves two counters",
        (
            f"{_SOURCE}precondition_that_does_not_hold_moves_two_counters",
            f"{_JUDGE}precondition_that_does_not_hold_is_counted_as_ignored",
        ),
    ),
    44: Trap(
        "A delayed topic is judged as the one behind it", (f"{_CLIENT}delayed_topic_is_judged_as_the_one_behind_it",)
    ),
    45: Trap("Refused logins count as flapping", (f"{_LOGIN}refused_logins_count_as_flapping",)),
    46: Trap(
        "Every kind of ban ends live connections (ours; EMQX: the client id only)",
        (f"{_LOGIN}ban_ends_live_connections_without_their_will",),
    ),
    47: Trap(
        "A file of users without a type holds hashes",
        (
            "unit/admin/test_authentication_users.py::test_hashes_are_imported_from_csv_without_naming_the_type",
            f"{_LOGIN}imported_hashes_log_in",
        ),
    ),
    48: Trap(
        "Rules see what the client wrote unless the mountpoint is included",
        (
            f"{_SOURCE}rules_see_what_the_client_wrote_unless_the_mountpoint_is_included",
            f"{_JUDGE}rules_see_the_mountpoint_only_if_told",
        ),
    ),
}
"""By number."""
