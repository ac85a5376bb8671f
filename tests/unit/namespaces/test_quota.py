"""The quota of sessions."""

import pytest

from pybroker.namespaces.quota import ConnectionQuota, most_sessions


@pytest.mark.parametrize(("quota", "most"), [(0, None), (1, 1), (25, 25), (26, 28), (100, 110)])
def test_quota_lets_a_tenth_more_in_beyond_25(quota: int, most: int | None) -> None:
    assert most_sessions(quota) == most


class _Everybody:
    """Namespaces that refuse nobody."""

    def judge_again(self, applicant: object) -> int:
        return 0


class _Registry:
    """As much of the registry as the gate asks for."""

    def __init__(self, *clients: str) -> None:
        self._clients = clients

    def __len__(self) -> int:
        return len(self._clients)

    def find(self, client_id: str) -> object | None:
        return client_id if client_id in self._clients else None


class _Applicant:
    def __init__(self, client_id: str) -> None:
        self.client_id = client_id


def _judge(quota: int, client_id: str) -> int:
    gate = ConnectionQuota(_Everybody(), _Registry("a", "b"), lambda: quota)  # type: ignore[arg-type]  # doubles
    return gate.judge_again(_Applicant(client_id))  # type: ignore[arg-type]  # a double


def test_new_client_beyond_the_quota_is_refused() -> None:
    assert _judge(2, "c") == 0x97


def test_existing_session_may_return() -> None:
    assert _judge(2, "b") == 0


@pytest.mark.parametrize("quota", [0, 3])
def test_without_or_below_the_quota_everybody_enters(quota: int) -> None:
    assert _judge(quota, "c") == 0
