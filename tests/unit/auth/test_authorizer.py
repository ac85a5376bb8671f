"""The chain of sources on the real core: order, mode, counters, what Python is asked for."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from pybroker._core import AccessClient, AccessRules, AccessSubject, Engine
from pybroker.auth.authorizer import Authorizer
from pybroker.auth.sources.built_in import RuleList
from pybroker.auth.sources.opener import Openers
from pybroker.auth.sources.source import Answer, Question
from pybroker.config.sections.access import (
    AuthorizationSettings,
    BuiltInSource,
    DecisionCache,
    FileSource,
    HttpSource,
    NodeCache,
    Source,
    TopicTemplateAllow,
)
from pybroker.errors import ConfigError
from pybroker.types import Filter, Topic
from tests.support.clock import FakeClock

BUILT_IN = BuiltInSource(type="built_in_database")
REMOTE = HttpSource(type="http")


class Remote:
    """A remote source that says what it is told to say."""

    rules = None
    status = "connected"

    def __init__(self, source: Source) -> None:
        self.source = source
        self.answers: list[Answer] = []
        self.questions: list[Question] = []
        self.forgotten = 0
        self.is_closed = False

    async def judge(self, question: Question) -> Answer:
        self.questions.append(question)
        return self.answers.pop(0)

    def forget(self) -> None:
        self.forgotten += 1

    async def close(self) -> None:
        self.is_closed = True


class House:
    """An authorizer, its engine and one session (number 0)."""

    def __init__(self, profile: str = "legacy", **settings: object) -> None:
        self.engine = Engine(0, "n")
        self.remotes: list[Remote] = []
        openers = Openers(FakeClock(), NodeCache())
        openers.open_http = self.open  # type: ignore[method-assign]  # nothing is asked over the network here
        self.settings = AuthorizationSettings(**settings)  # type: ignore[arg-type]  # each test names fields that exist
        self.authorizer = Authorizer(
            self.engine,
            self.settings,
            profile,  # type: ignore[arg-type]  # one of the two words
            openers=openers,
        )
        assert self.engine.create_session("c", "") == 0
        self.sit("c")

    async def open(self, source: Source) -> Remote:
        if isinstance(source, HttpSource) and source.url == "broken":
            raise ConfigError("authorization.sources", "broken")
        self.remotes.append(Remote(source))
        return self.remotes[-1]

    def sit(self, client_id: str, **facts: object) -> None:
        """Tell the engine who session 0 is."""
        self.engine.set_subject(0, AccessSubject(AccessClient(client_id, **facts)))  # type: ignore[arg-type]

    async def subscribe(self, filter: str, qos: int = 0) -> int:
        reason = self.authorizer.judge_subscribe(0, Filter(filter), qos)
        return reason if isinstance(reason, int) else await reason

    def counted(self, *names: str) -> list[int]:
        metrics = self.engine.metrics()
        return [metrics[name] for name in names]


def rule(permission: str, topic: str, action: str = "all") -> dict[str, object]:
    return {"topic": topic, "permission": permission, "action": action}


async def remote_house(profile: str = "legacy", sources: Sequence[Source] = (REMOTE,), **settings: object) -> House:
    house = House(profile, sources=tuple(sources), **settings)
    await house.authorizer.apply(house.settings)
    return house


# Modes and defaults


async def test_mode_decides_what_no_rule_decides() -> None:
    house = House()
    assert await house.subscribe("t") == 0
    await house.authorizer.apply(AuthorizationSettings(no_match="deny"))
    assert await house.subscribe("t") == 0x87
    await house.authorizer.built_in.load([(None, "clientid", "c", [rule("allow", "t")])])
    assert await house.subscribe("t") == 0
    assert house.counted("authorization.allow", "authorization.deny", "authorization.nomatch") == [2, 1, 2]
    assert house.counted("authorization.matched.allow", "authorization.matched.deny", "client.authorize") == [1, 0, 3]
    assert house.authorizer.metrics("built_in_database") == (3, 1, 0, 2, 0)
    house.authorizer.reset_metrics("built_in_database")
    assert house.authorizer.metrics("built_in_database") == (0, 0, 0, 0, 0)


@pytest.mark.parametrize(
    ("policy", "address", "is_allowed"),
    [
        ("loopback", "127.0.0.1", True),
        ("loopback", "127.9.9.9", True),
        ("loopback", "::1", True),
        ("loopback", "::ffff:127.0.0.1", True),
        ("loopback", None, True),
        ("loopback", "192.0.2.7", False),
        ("loopback", "::1:2", False),
        ("everyone", "192.0.2.7", True),
        ("nobody", "127.0.0.1", False),
    ],
)
@pytest.mark.parametrize("filter", ["$SYS/#", "$SYS", "$share/g/$SYS/brokers/+/uptime"])
async def test_sys_topics_have_a_default_of_their_own_in_blacklist_mode(
    policy: str, address: str | None, is_allowed: bool, filter: str
) -> None:
    house = House(sys_topics=policy)
    house.sit("c", peer_ip=address)
    assert await house.subscribe(filter) == (0 if is_allowed else 0x87)
    assert await house.subscribe("$SYSTEM/x") == await house.subscribe("a/$SYS") == 0


async def test_whitelist_mode_wants_a_rule_for_sys_topics_too() -> None:
    house = House(no_match="deny", sys_topics="everyone")
    assert await house.subscribe("$SYS/#") == 0x87
    await house.authorizer.built_in.load([(None, "all", "", [rule("allow", "$SYS/#")])])
    assert await house.subscribe("$SYS/#") == 0


async def test_superuser_moves_no_source_counter() -> None:
    house = House(no_match="deny", sys_topics="nobody")
    await house.authorizer.built_in.load([(None, "all", "", [rule("deny", "#")])])
    house.engine.set_subject(0, AccessSubject(AccessClient("c"), is_superuser=True))
    assert await house.subscribe("t") == await house.subscribe("$SYS/#") == 0
    assert house.authorizer.metrics("built_in_database").total == 0
    assert house.counted("authorization.superuser", "authorization.allow") == [2, 2]


async def test_rules_of_the_client_itself_come_first_and_may_be_final() -> None:
    house = House()
    await house.authorizer.built_in.load([(None, "all", "", [rule("allow", "#")])])
    own = AccessRules.compile([(None, "all", "", [rule("deny", "a"), rule("allow", "b")])])
    house.engine.set_subject(0, AccessSubject(AccessClient("c"), acl=own))
    assert [await house.subscribe(topic) for topic in ("a", "b", "other")] == [0x87, 0, 0]
    house.engine.set_subject(0, AccessSubject(AccessClient("c"), acl=own, is_acl_final=True))
    assert [await house.subscribe(topic) for topic in ("a", "b", "other")] == [0x87, 0, 0x87]
    assert house.authorizer.metrics("built_in_database").total == 1


async def test_everything_is_denied_once_the_rights_have_ended() -> None:
    house = House()
    house.engine.set_subject(0, AccessSubject(AccessClient("c"), is_superuser=True, expire_at_s=1))
    assert await house.subscribe("t") == 0x87
    house.engine.set_subject(0, AccessSubject(AccessClient("c"), expire_at_s=4_000_000_000))
    assert await house.subscribe("t") == 0


async def test_subscribe_match_takes_effect_without_compiling_again() -> None:
    house = House(no_match="deny")
    await house.authorizer.built_in.load([(None, "all", "", [rule("allow", "a/+")])])
    assert await house.subscribe("a/#") == 0x87
    await house.authorizer.apply(AuthorizationSettings(no_match="deny", subscribe_match="emqx"))
    assert await house.subscribe("a/#") == 0


async def test_rules_see_the_mountpoint_only_if_told() -> None:
    house = House(no_match="deny")
    house.sit("c", mountpoint="m/")
    await house.authorizer.built_in.load([(None, "all", "", [rule("allow", "m/a")])])
    assert await house.subscribe("a") == 0x87
    await house.authorizer.apply(AuthorizationSettings(no_match="deny", include_mountpoint=True))
    assert await house.subscribe("a") == 0


# Remote sources


@pytest.mark.parametrize(
    ("answer", "profile", "reason", "metrics"),
    [
        ("allow", "legacy", 0, (1, 1, 0, 0, 0)),
        ("deny", "legacy", 0x87, (1, 0, 1, 0, 0)),
        ("nomatch", "legacy", 0, (1, 0, 0, 1, 0)),
        ("ignore", "hardened", 0, (1, 0, 0, 0, 1)),
        ("failed", "legacy", 0, (1, 0, 0, 0, 1)),
        ("failed", "hardened", 0x87, (1, 0, 0, 0, 1)),
    ],
)
async def test_answer_of_a_remote_source(
    answer: Answer, profile: str, reason: int, metrics: tuple[int, int, int, int, int]
) -> None:
    house = await remote_house(profile, sources=(REMOTE, BUILT_IN))
    house.remotes[0].answers = [answer]
    assert await house.subscribe("t", 1) == reason
    assert house.authorizer.metrics("http") == metrics
    assert house.authorizer.metrics("built_in_database").total == (answer in ("nomatch", "ignore")) + (
        (answer, profile) == ("failed", "legacy")
    )
    question = house.remotes[0].questions[0]
    assert (question.subject.client_id, *question[1:]) == ("c", "subscribe", "t", 1, False)


async def test_failure_is_passed_over_in_the_hardened_profile_if_that_is_configured() -> None:
    house = await remote_house("hardened", ignore_backend_failures=True)
    house.remotes[0].answers = ["failed"]
    assert await house.subscribe("t") == 0


async def test_publish_goes_on_behind_the_step_that_the_core_has_reached() -> None:
    house = await remote_house(sources=(BUILT_IN, REMOTE), no_match="deny")
    house.remotes[0].answers = ["allow", "nomatch"]
    chain = house.engine.check_access(0, "publish", "t", counts=False)[5]
    assert await house.authorizer.judge_publish(0, chain, 1, Topic("$delayed/5/t"), 1, True) == (True, True)
    assert house.remotes[0].questions[0][1:] == ("publish", "t", 1, True)
    assert await house.authorizer.judge_publish(0, chain, 1, Topic("t"), 0, False) == (False, True)
    assert house.authorizer.metrics("built_in_database").total == 0


async def test_chain_that_changes_while_a_source_is_asked_is_walked_anew() -> None:
    house = await remote_house(sources=(REMOTE,), no_match="allow")
    gate = asyncio.Event()

    async def judge(question: Question) -> Answer:
        await gate.wait()
        return "nomatch"

    house.remotes[0].judge = judge  # type: ignore[method-assign]  # the first answer waits for the test
    waiting = asyncio.ensure_future(
        house.authorizer.judge_publish(0, house.authorizer.version, 0, Topic("t"), 0, False)
    )
    await asyncio.sleep(0)
    await house.authorizer.apply(AuthorizationSettings(no_match="deny"))
    gate.set()
    assert await waiting == (False, False)


async def test_rights_that_end_while_a_source_is_asked_deny_the_publish() -> None:
    house = await remote_house()

    async def judge(question: Question) -> Answer:
        house.engine.set_subject(0, AccessSubject(AccessClient("c"), expire_at_s=1))
        return "allow"

    house.remotes[0].judge = judge  # type: ignore[method-assign]  # the rights end in the middle of it
    assert await house.authorizer.judge_publish(0, house.authorizer.version, 0, Topic("t"), 0, False) == (False, False)


async def test_subscription_is_denied_at_once_when_rights_have_ended() -> None:
    house = await remote_house()
    assert not house.authorizer.denies(0, Filter("t"), 0)
    house.engine.set_subject(0, AccessSubject(AccessClient("c"), expire_at_s=1))
    assert house.authorizer.denies(0, Filter("t"), 0)
    assert house.counted("client.authorize") == [0]


async def test_sources_are_opened_kept_and_closed() -> None:
    house = await remote_house()
    await house.authorizer.apply(AuthorizationSettings(sources=(REMOTE, BUILT_IN)))
    assert [remote.forgotten for remote in house.remotes] == [2]
    changed = HttpSource(type="http", url="http://127.0.0.1:1/")
    await house.authorizer.apply(AuthorizationSettings(sources=(changed,)))
    assert [remote.is_closed for remote in house.remotes] == [True, False]
    with pytest.raises(ConfigError):
        await house.authorizer.apply(AuthorizationSettings(sources=(HttpSource(type="http", url="broken"),)))
    assert (house.authorizer.settings.sources, house.remotes[1].is_closed) == ((changed,), False)
    await house.authorizer.apply(AuthorizationSettings())
    assert house.remotes[1].is_closed


async def test_file_that_was_changed_on_the_disk_is_read_again_when_asked_for(tmp_path: Path) -> None:
    acl = tmp_path / "acl.conf"
    acl.write_text('{deny, all, subscribe, ["t"]}.\n')
    house = await remote_house(sources=(FileSource(type="file", path=str(acl)),))
    changes: list[str] = []
    house.authorizer.listen(lambda: changes.append("changed"))
    acl.write_text('{deny, all, subscribe, ["other"]}.\n')
    assert [await house.subscribe(topic) for topic in ("t", "other")] == [0x87, 0]
    assert await house.authorizer.read_again() == 1
    assert [await house.subscribe(topic) for topic in ("t", "other")] == [0, 0x87]
    acl.write_text("{deny, all")
    with pytest.raises(ConfigError):
        await house.authorizer.read_again()
    assert [await house.subscribe(topic) for topic in ("t", "other")] == [0, 0x87]
    # Whoever looks for revoked subscriptions is told of the change, and of no other.
    assert changes == ["changed"]


async def test_without_a_file_there_is_nothing_to_read_again() -> None:
    assert await House().authorizer.read_again() == 0


async def test_disabled_source_and_one_without_effect_are_passed_over() -> None:
    off = BuiltInSource(type="built_in_database", enable=False)
    house = await remote_house(sources=(off, Source(type="redis")), no_match="deny")
    await house.authorizer.built_in.load([(None, "all", "", [rule("allow", "#")])])
    assert await house.subscribe("t") == 0x87
    assert [step.skipped for step in house.authorizer.steps] == ["disabled", "not available"]
    assert house.authorizer.metrics("built_in_database").total == 0


async def test_precondition_that_does_not_hold_is_counted_as_ignored() -> None:
    only = BuiltInSource(type="built_in_database", precondition="str_eq(clientid, 'd')")
    house = await remote_house(sources=(only,), no_match="deny")
    await house.authorizer.built_in.load([(None, "all", "", [rule("allow", "#")])])
    assert await house.subscribe("t") == 0x87
    assert house.authorizer.metrics("built_in_database") == (1, 0, 0, 0, 1)
    house.sit("d")
    assert await house.subscribe("t") == 0
    assert house.authorizer.metrics("built_in_database") == (2, 1, 0, 0, 1)


@pytest.mark.parametrize(
    ("precondition", "holds"),
    [
        ("str_eq(any_to_str(sockport), '8084')", True),
        ("str_eq(peersni, 'a.example')", True),
        ("str_eq(ws_cookie.id, '7')", True),
        ("str_eq(cert_subject, 'CN=dev')", True),
        ("str_eq(peersni, 'b.example')", False),
    ],
)
async def test_precondition_may_know_of_port_and_handshake(precondition: str, holds: bool) -> None:
    source = BuiltInSource(type="built_in_database", precondition=precondition)
    house = await remote_house(sources=(source,))
    await house.authorizer.built_in.load([(None, "all", "", [rule("deny", "#")])])
    told = [("cert_subject", "CN=dev"), ("peersni", "a.example"), ("ws_cookie", "x=1; id=7")]
    house.sit("c", local_port=8084, handshake=told)
    assert await house.subscribe("t") == (0x87 if holds else 0)


async def test_precondition_that_is_no_expression_is_refused() -> None:
    house = House()
    with pytest.raises(ConfigError, match="precondition"):
        await house.authorizer.apply(
            AuthorizationSettings(sources=(BuiltInSource(type="built_in_database", precondition="nope("),))
        )


async def test_settings_of_the_cache_reach_the_core() -> None:
    house = House(cache=DecisionCache(excludes=("a/#",)))
    with pytest.raises(ConfigError, match="excludes"):
        await house.authorizer.apply(AuthorizationSettings(cache=DecisionCache(excludes=("a/#/b",))))
    assert await house.subscribe("t") == 0


async def test_characters_of_values_hold_for_files_and_lists_with_the_next_settings(tmp_path: Path) -> None:
    acl = tmp_path / "acl.conf"
    acl.write_text('{deny, all, all, ["t/${clientid}"]}.')
    sources = (BUILT_IN, FileSource(type="file", path=str(acl)))
    house = House(sources=sources)
    built_in: list[RuleList] = [(None, "all", "", [rule("deny", "u/${clientid}")])]
    house.authorizer.built_in.read_from(lambda: built_in)
    await house.authorizer.built_in.load(built_in)
    house.sit("a/b")
    seen = []
    for slash in (False, True, False):
        allow = TopicTemplateAllow(slash=slash)
        await house.authorizer.apply(AuthorizationSettings(sources=sources, topic_template_allow=allow))
        seen.append([await house.subscribe(topic) for topic in ("t/a/b", "u/a/b")])
    assert seen == [[0, 0], [0x87, 0x87], [0, 0]]
