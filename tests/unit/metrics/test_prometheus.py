"""The exposition format and EMQX's names in it."""

from prometheus_client.parser import text_string_to_metric_families

from pybroker.metrics.prometheus import Family, Sample, emqx_name, families_of, render


def test_dotted_names_become_those_of_emqx() -> None:
    assert emqx_name("packets.publish.received") == "emqx_packets_publish_received"
    assert emqx_name("packets.connect.received") == "emqx_packets_connect"
    assert emqx_name("messages.dropped.await_pubrel_timeout") == "emqx_messages_dropped_expired"


def test_exposition_is_read_back_with_kinds_and_labels() -> None:
    text = render([Family("a", "gauge", (Sample(1), Sample(2.5, {"x": "y"})))], {"node": "n"}).decode()
    (family,) = text_string_to_metric_families(text)
    assert (family.name, family.type) == ("a", "gauge")
    assert [(dict(one.labels), one.value) for one in family.samples] == [
        ({"node": "n"}, 1),
        ({"node": "n", "x": "y"}, 2.5),
    ]


def test_labels_cannot_forge_samples() -> None:
    hostile = 'x"} 1\nforged 1\\'
    text = render([Family("a", "gauge", (Sample(1, {"name": hostile}),))]).decode()
    (family,) = text_string_to_metric_families(text)
    assert family.samples[0].labels["name"] == hostile


def test_families_of_one_name_are_written_as_one() -> None:
    text = render(
        [*families_of({"b": 1}, "counter", {"namespace": "x"}), *families_of({"b": 2}, "counter", {"namespace": "y"})]
    )
    assert text == b'# TYPE emqx_b counter\nemqx_b{namespace="x"} 1\nemqx_b{namespace="y"} 2\n'


def test_family_without_samples_is_left_out() -> None:
    assert render([Family("a", "gauge", ())]) == b""
