"""Slow subscriptions by REST; what is measured stands in the end-to-end tests."""

from tests.support.admin import Api


async def test_settings_are_those_of_the_contract_and_change_at_once(api: Api) -> None:
    token = await api.log_in()
    shown = (await api.call("GET", "/slow_subscriptions/settings", auth=token)).json()
    assert shown == {
        "enable": False,
        "threshold": "500ms",
        "expire_interval": "5m",
        "top_k_num": 10,
        "stats_type": "whole",
    }
    reply = await api.call("PUT", "/slow_subscriptions/settings", {"enable": True, "threshold": "10ms"}, auth=token)
    assert (reply.status_code, reply.json()["enable"], reply.json()["threshold"]) == (200, True, "10ms")


async def test_setting_out_of_range_is_refused(api: Api) -> None:
    reply = await api.call("PUT", "/slow_subscriptions/settings", {"top_k_num": 1_001}, auth=await api.log_in())
    assert (reply.status_code, reply.json()["code"]) == (400, "UPDATE_FAILED")
    assert "top_k_num" in reply.json()["message"]


async def test_list_has_no_pages_and_is_cleared(api: Api) -> None:
    token = await api.log_in()
    assert (await api.call("GET", "/slow_subscriptions", auth=token)).json() == {"data": []}
    assert (await api.call("DELETE", "/slow_subscriptions", auth=token)).status_code == 204
