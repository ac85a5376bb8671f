"""The ledger of the crash tests: it would notice a loss."""

from tests.support.ledger import Ledger


def test_ledger_finds_what_is_lost_and_what_is_half() -> None:
    ledger = Ledger()
    ledger.begin({("user", "a"): 1})
    ledger.confirm()
    assert ledger.check({}) == ["('user', 'a'): promised 1, found None"]
    ledger.begin({("user", "a"): 2, ("token", "t"): None, ("user", "b"): 3})
    assert len(ledger.check({("user", "a"): 2})) == 1
    ledger.begin({("user", "a"): 2, ("user", "b"): 3})
    assert ledger.check({("user", "a"): 2, ("user", "b"): 3}) == []
    assert ledger.check({("user", "a"): 1, ("user", "b"): 3}) != []
