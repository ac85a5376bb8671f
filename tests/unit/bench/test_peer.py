"""Peers: what is refused, and that every file of the folder can be read."""

import pytest

from bench import peer as peers


@pytest.mark.parametrize("name", sorted(path.stem for path in peers.FOLDER.glob("*.toml")))
def test_every_shipped_peer_is_readable_or_says_how_to_install_it(name: str) -> None:
    try:
        peer = peers.load(name, {"pybroker": "true"})
    except peers.PeerError as error:
        assert "is not installed" in str(error)  # noqa: PT017
    else:
        assert "tcp" in peer.transports
        assert set(peer.best_of) <= set(peer.variants)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(peers.PeerError, match="no such peer: nobody"):
        peers.load("nobody", {})
    with pytest.raises(peers.PeerError, match="no variant: nothing"):
        peers.load("pybroker:nothing", {"pybroker": "true"})


def test_variant_of_the_name_is_the_only_one() -> None:
    peer = peers.load("pybroker:two-shards", {"pybroker": "true"})
    assert list(peer.variants) == ["two-shards"]
    assert peer.title == "pybroker (two-shards)"
