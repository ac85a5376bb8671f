"""The behaviours of namespaces that are easily got wrong, and the tests of each, by the contract's numbers."""

from tests.support.admin_traps import Trap

__all__ = ["ABSENT", "DECISIONS", "TRAPS"]

_E2E = "e2e/test_namespaces.py::test_"
_TRAP = "e2e/test_namespace_traps.py::test_"
_MT = "unit/admin/test_mt.py::test_"
_MT_DELETE = "unit/admin/test_mt_delete.py::test_"
_GATE = "unit/namespaces/test_gate.py::test_"
_RESOLVE = "unit/namespaces/test_resolve.py::test_"
_CONNECT = "unit/plane/test_connect.py::test_"
_LIMITS = "protocol/test_namespace_limits.py::test_"
_VARIFORM = "unit/variform/test_traps.py::test_"

TRAPS: dict[int, Trap] = {
    1: Trap(
        "The client id is overridden before bans and gate look at it",
        (f"{_E2E}bans_are_on_the_internal_client_id", f"{_E2E}clients_of_a_namespace_are_listed_by_their_internal_ids"),
    ),
    2: Trap(
        "A failing or empty expression refuses nobody",
        (
            f"{_TRAP}expression_without_a_result_refuses_nobody",
            f"{_RESOLVE}failing_override_keeps_the_client_id",
            f"{_RESOLVE}what_the_connection_does_not_have_sets_nothing",
        ),
    ),
    3: Trap("The literal false is true in iif", (f"{_VARIFORM}literal_false_is_a_text_and_a_computed_one_is_not",)),
    4: Trap("coalesce of one text is an error", (f"{_VARIFORM}coalesce_of_one_text_is_an_error",)),
    5: Trap("concat takes a list or two values", (f"{_VARIFORM}concat_takes_one_list_or_two_values",)),
    6: Trap(
        "An unknown function is refused when it is saved",
        (
            f"{_MT}bad_setting_is_refused_and_nothing_of_the_request_holds",
            "unit/config/test_checks.py::test_expression_that_is_none_is_refused_with_its_place",
        ),
    ),
    7: Trap("nth counts from 1, substr from 0", (f"{_VARIFORM}elements_count_from_one_and_characters_from_zero",)),
    8: Trap("tokens takes characters, split a text", (f"{_VARIFORM}tokens_take_characters_and_split_takes_a_text",)),
    9: Trap("Names hold dashes, texts no escapes", (f"{_VARIFORM}names_may_hold_dashes_and_texts_no_escapes",)),
    10: Trap(
        "A missing name is an error, an empty one is not",
        (
            f"{_VARIFORM}missing_name_is_an_error_and_an_empty_one_is_not",
            "unit/variform/test_contexts.py::test_anonymous_client_has_an_empty_username_not_an_unbound_one",
            "unit/variform/test_contexts.py::test_plain_tcp_leaves_tls_and_websocket_names_unbound",
        ),
    ),
    11: Trap(
        "Managed only: no namespace is 0x87 / 5", (f"{_E2E}only_managed_namespaces_are_open_from_the_next_connect_on",)
    ),
    12: Trap("Over quota is 0x97 / 3", (f"{_E2E}namespace_at_its_quota_refuses_new_clients_only",)),
    13: Trap(
        "A client that is in comes back at full quota",
        (
            f"{_E2E}namespace_at_its_quota_refuses_new_clients_only",
            f"{_GATE}new_client_beyond_the_quota_is_refused_and_an_old_one_comes_back",
        ),
    ),
    14: Trap(
        "One client id is one session without an override and two with it",
        (
            f"{_E2E}without_isolation_two_tenants_take_each_other_over",
            f"{_E2E}two_tenants_use_one_client_id",
            f"{_TRAP}session_is_not_resumed_from_another_namespace",
        ),
    ),
    15: Trap(
        "Two pairs with one internal id: the second is refused, and saving warns",
        (
            f"{_E2E}two_pairs_with_one_internal_id_do_not_share_a_session",
            f"{_RESOLVE}two_pairs_with_one_result_do_not_share_a_session",
            f"{_MT}doubtful_override_is_saved_with_a_warning",
        ),
    ),
    16: Trap(
        "A listener's mountpoint replaces the namespace's",
        (f"{_E2E}mountpoint_of_a_listener_goes_before_that_of_the_namespace",),
    ),
    17: Trap(
        "Only the namespace's mountpoint gets a slash",
        (
            f"{_E2E}mountpoint_of_a_listener_goes_before_that_of_the_namespace",
            f"{_RESOLVE}namespace_and_a_slash_is_the_mountpoint_where_that_is_on",
        ),
    ),
    18: Trap("The group's name has no prefix", (f"{_E2E}shared_groups_of_one_name_are_each_tenants_own",)),
    19: Trap("Each namespace gets its copy", (f"{_E2E}shared_groups_of_one_name_are_each_tenants_own",)),
    20: Trap(
        "Unsubscribing takes the own name and no permission",
        (f"{_E2E}client_unsubscribes_by_its_own_name", f"{_TRAP}unsubscribing_needs_no_permission"),
    ),
    21: Trap(
        "Wills, retained and queued messages come with the own topic",
        (f"{_E2E}will_retained_and_queued_messages_come_with_the_clients_own_topic",),
    ),
    22: Trap(
        "A topic without the prefix is delivered whole",
        (
            "../rust_core/core/tests/topic_properties.rs::a_topic_from_outside_is_not_shortened",
            f"{_TRAP}topic_that_is_too_long_with_its_prefix_reaches_nobody",
        ),
    ),
    23: Trap("Aliases stand for the client's topics", (f"{_E2E}aliases_hold_the_clients_own_topics",)),
    24: Trap(
        "Names that reach other namespaces are refused",
        (
            f"{_E2E}hostile_namespace_is_refused",
            f"{_RESOLVE}hostile_name_is_no_mountpoint",
            f"{_CONNECT}hostile_namespace_is_no_part_of_a_listeners_mountpoint",
            f"{_MT}hostile_names_are_refused",
        ),
    ),
    25: Trap("Delayed messages stay inside", (f"{_E2E}delayed_messages_stay_in_their_namespace",)),
    26: Trap(
        "Exclusive topics are of a namespace and are given back",
        (
            f"{_E2E}exclusive_topics_are_each_tenants_own_and_are_given_back",
            f"{_TRAP}session_is_not_resumed_from_another_namespace",
        ),
    ),
    27: Trap(
        "A listener without authentication has the gate",
        (f"{_E2E}denied_names_are_refused_whatever_the_listener_asks_for",),
    ),
    28: Trap(
        "A namespace from authentication is judged",
        (f"{_TRAP}namespace_from_authentication_is_judged_like_any_other",),
    ),
    29: Trap(
        "The expression after authentication decides alone",
        (
            f"{_TRAP}expression_after_authentication_decides_alone",
            f"{_RESOLVE}unmanaged_namespace_before_authentication_does_not_matter_with_an_expression_after_it",
            f"{_RESOLVE}empty_result_after_authentication_strips_the_namespace",
        ),
    ),
    30: Trap(
        "Creating twice is 400, while kicking 409",
        (
            f"{_MT}creating_an_existing_namespace_is_a_bad_request",
            f"{_MT_DELETE}kicking_goes_in_batches_and_one_at_a_time",
        ),
    ),
    31: Trap(
        "Deleting unknown and implicit namespaces works",
        (
            f"{_MT_DELETE}deleting_an_unknown_namespace_is_no_error",
            f"{_MT_DELETE}deleting_an_implicit_namespace_ends_its_sessions",
        ),
    ),
    32: Trap("A full last page has no link", (f"{_MT}page_that_is_exactly_full_has_no_link",)),
    33: Trap("Two cursors are refused", (f"{_MT}two_cursors_are_refused",)),
    34: Trap(
        "Zero sessions: no default, but a namespace's",
        (
            f"{_MT}bad_setting_is_refused_and_nothing_of_the_request_holds",
            f"{_GATE}quota_of_zero_admits_nobody",
        ),
    ),
    35: Trap(
        "Over the limit: lost, 0x97, ordinary PUBACK",
        (
            f"{_E2E}publisher_over_its_limit_is_told_and_stays_connected",
            f"{_LIMITS}qos_0_over_the_limit_is_dropped_and_counted",
            f"{_LIMITS}a_3_x_client_over_the_limit_gets_an_ordinary_puback",
        ),
    ),
    36: Trap(
        "The client limiter replaces the listener's, the tenant's adds to it",
        (
            f"{_LIMITS}the_client_limiter_takes_the_place_of_the_listeners_rates",
            f"{_LIMITS}the_tenant_limiter_adds_to_the_listeners_rates",
        ),
    ),
    37: Trap("Bytes are payload bytes", (f"{_LIMITS}bytes_are_payload_bytes",)),
    38: Trap(
        "Rates come back in their largest units",
        (f"{_MT}rates_are_shown_in_their_largest_units", f"{_MT}burst_may_be_nothing"),
    ),
    39: Trap(
        "Denied names are refused everywhere, and usable once allowed",
        (
            f"{_MT}denied_names_are_refused_and_usable_once_allowed",
            f"{_GATE}denied_names_are_refused_before_and_after_authentication",
            f"{_E2E}denied_names_are_refused_whatever_the_listener_asks_for",
            f"{_RESOLVE}empty_result_after_authentication_refuses_a_denied_name",
        ),
    ),
    40: Trap(
        "All are scraped once in 5 s, one at any time",
        (f"{_MT}all_namespaces_are_scraped_once_in_five_seconds_and_one_at_any_time",),
    ),
    41: Trap(
        "Implicit ones have sessions and no traffic",
        (
            f"{_MT}managed_namespaces_have_traffic_and_all_have_sessions",
            f"{_MT}metrics_of_an_implicit_namespace_have_no_traffic",
        ),
    ),
    42: Trap(
        "Made again it starts with nothing",
        (
            f"{_MT_DELETE}namespace_that_is_created_again_starts_with_nothing",
            f"{_LIMITS}a_namespace_that_is_made_again_counts_from_zero",
            "e2e/test_namespace_deletion.py::test_new_namespace_of_a_name_finds_nothing_of_the_former_one",
        ),
    ),
    43: Trap("One bad entry of an import changes nothing", (f"{_MT}bulk_import_with_one_bad_entry_changes_nothing",)),
    44: Trap(
        "Managed only holds from the next CONNECT on",
        (f"{_E2E}only_managed_namespaces_are_open_from_the_next_connect_on",),
    ),
    45: Trap(
        "The settings of access control are replaced whole, the others are left alone",
        (
            "unit/admin/test_authorization_settings.py::test_settings_are_replaced_whole",
            "unit/admin/test_authorization_settings.py::test_settings_leave_the_others_alone",
            f"{_MT}settings_are_one_object_and_keep_what_is_not_sent",
        ),
    ),
}

ABSENT: dict[int, str] = {13: "rewrite"}
"""Decisions about parts that the broker does not have, by the configuration key that such a part would have."""

DECISIONS: dict[int, Trap] = {
    1: Trap(
        "Managed only lets in who is managed, imported ones too",
        (
            f"{_GATE}only_managed_namespaces_are_open_where_that_is_asked_for",
            f"{_TRAP}imported_namespace_is_open_before_anybody_was_in_it",
        ),
    ),
    2: Trap(
        "Every listener has the gate; anonymous clients may be refused before it",
        (
            f"{_E2E}denied_names_are_refused_whatever_the_listener_asks_for",
            f"{_CONNECT}anonymous_clients_are_refused_before_their_namespace_is_looked_at",
        ),
    ),
    3: Trap(
        "A namespace that changes is judged again, also one that was closed meanwhile",
        (
            f"{_TRAP}namespace_from_authentication_is_judged_like_any_other",
            f"{_TRAP}namespace_that_is_deleted_while_a_client_waits_is_closed_to_it",
            f"{_TRAP}name_that_is_denied_while_a_client_waits_is_closed_to_it",
        ),
    ),
    4: Trap(
        "Sessions are counted exactly",
        (
            f"{_E2E}quota_holds_exactly_under_a_thousand_parallel_connects",
            f"{_GATE}applicants_who_wait_count",
            f"{_GATE}clean_start_keeps_one_place",
            f"{_TRAP}client_that_leaves_while_it_waits_frees_its_place",
            f"{_TRAP}refused_connects_leave_no_place_taken",
            f"{_CONNECT}what_an_applicant_holds_is_given_back_after_a_defect_of_a_later_step",
        ),
    ),
    5: Trap(
        "The default is copied to managed namespaces and live for the others",
        (
            f"{_MT}new_namespace_takes_over_the_default_number_of_sessions",
            f"{_GATE}default_quota_holds_for_namespaces_that_nobody_created",
            f"{_TRAP}quota_that_is_raised_ends_its_alarm",
        ),
    ),
    6: Trap("The assigned client id leads back", (f"{_E2E}assigned_client_id_leads_back_to_the_same_session",)),
    7: Trap("The address is a text", (f"{_TRAP}address_of_the_client_can_be_joined_into_a_name",)),
    8: Trap(
        "A mountpoint without its attribute refuses",
        (
            f"{_E2E}client_without_the_attribute_of_a_mountpoint_is_refused",
            f"{_CONNECT}placeholder_without_a_value_may_stay_as_text",
        ),
    ),
    9: Trap(
        "Hostile names are refused, and none is a template",
        (
            f"{_E2E}hostile_namespace_is_refused",
            f"{_MT}hostile_names_are_refused",
            f"{_MT}name_with_a_slash_is_refused_in_bulk",
            f"{_RESOLVE}name_is_no_template",
        ),
    ),
    10: Trap("The lock is on the prefixed topic", (f"{_E2E}exclusive_topics_are_each_tenants_own_and_are_given_back",)),
    11: Trap(
        "A leading wildcard does not match `$` of the client's view",
        (f"{_E2E}dollar_topics_inside_a_namespace_are_hidden_from_a_leading_wildcard",),
    ),
    12: Trap("The delay is taken off before the prefix", (f"{_E2E}delayed_messages_stay_in_their_namespace",)),
    14: Trap("Only what is sent is merged", (f"{_MT}configuration_is_merged_and_only_what_is_sent_changes",)),
    15: Trap("An import does what creating does", (f"{_MT}bulk_import_creates_and_merges",)),
    16: Trap("Sections are imported all or none", (f"{_MT}sections_of_a_namespace_are_empty",)),
}
