"""The description of the API and the page that shows it."""

from pathlib import Path

import pytest
from openapi_spec_validator import OpenAPIV30SpecValidator

from admin.app import ROWS
from admin.openapi import build_document
from tests.support.admin import Api, config_with, open_api


def test_document_is_valid() -> None:
    assert [error.message for error in OpenAPIV30SpecValidator(build_document(ROWS, "1")).iter_errors()] == []


def test_every_row_is_described() -> None:
    paths = build_document(ROWS, "1")["paths"]
    described = {(method.upper(), path) for path, operations in paths.items() for method in operations}
    wanted = {
        (row.method, "/".join(f"{{{part[1:]}}}" if part[:1] == ":" else part for part in row.path.split("/")))
        for row in ROWS
    }
    assert described == wanted


def test_operation_ids_are_unique() -> None:
    ids = [row.operation_id for row in ROWS]
    assert len(set(ids)) == len(ids)


def test_secrets_of_replies_are_none() -> None:
    schemas = build_document(ROWS, "1")["components"]["schemas"]
    assert "password" not in schemas["User"]["properties"]
    assert schemas["User"]["properties"]["namespace"] == {"type": "string", "nullable": True}


async def test_document_needs_a_credential_and_hides_the_version_from_strangers(api: Api) -> None:
    stranger = await api.client.get("/api-docs/swagger.json")
    assert stranger.status_code == 401
    assert stranger.json()["code"] == "AUTHORIZATION_HEADER_ERROR"
    assert int(stranger.headers["content-length"]) == len(stranger.content)
    assert stranger.headers["www-authenticate"] == 'Basic Realm="emqx-dashboard"'
    assert "9.9.9" not in stranger.text
    reply = await api.client.get("/api-docs/swagger.json", headers={"authorization": await api.log_in()})
    assert (reply.status_code, reply.json()["info"]["version"]) == (200, "9.9.9")


async def test_document_opens_for_keys_but_not_for_publishers(api: Api) -> None:
    for role, status in (("viewer", 200), ("publisher", 403)):
        header = await api.add_key(f"k-{role}", role=role)
        assert (await api.client.get("/api-spec.json", headers={"authorization": header})).status_code == status


async def test_parts_of_the_description(api: Api) -> None:
    headers = {"authorization": await api.log_in()}
    tagged = (await api.client.get("/api-spec/api%20keys", headers=headers)).json()
    assert set(tagged["paths"]) == {"/api_key", "/api_key/{name}", "/api_key_scopes"}
    assert ("ApiKey" in tagged["components"]["schemas"], "Client" in tagged["components"]["schemas"]) == (True, False)
    assert [error.message for error in OpenAPIV30SpecValidator(tagged).iter_errors()] == []
    one = (await api.client.get("/api-spec/API%20Keys/delete_api_key_name", headers=headers)).json()
    assert {path: list(operations) for path, operations in one["paths"].items()} == {"/api_key/{name}": ["delete"]}
    text = (await api.client.get("/api-spec.md", headers=headers)).text
    assert "* `DELETE /api/v5/api_key/{name}`: Delete an API key" in text
    assert text.count("\n* ") == len(ROWS)
    for path in ("/api-spec/none", "/api-spec/Users/delete_api_key_name"):
        assert (await api.client.get(path, headers=headers)).status_code == 404


@pytest.mark.parametrize("path", ["/api-spec.md", "/api-spec.json", "/api-spec/Users", "/api-spec/none"])
async def test_parts_need_a_credential(api: Api, path: str) -> None:
    assert (await api.client.get(path)).status_code == 401


@pytest.mark.parametrize("path", ["/api-docs", "/api-docs/index.html"])
async def test_old_addresses_lead_to_the_page(api: Api, path: str) -> None:
    reply = await api.client.get(path)
    assert (reply.status_code, reply.headers["location"]) == (308, "/api-spec.html")


async def test_address_that_the_start_prints_leads_to_the_page(api: Api) -> None:
    reply = await api.client.get("/")
    assert (reply.status_code, reply.headers["location"]) == (307, "/api-spec.html")


@pytest.mark.parametrize("name", ["html", "js", "css"])
async def test_page_asks_nothing_of_the_internet(api: Api, name: str) -> None:
    reply = await api.client.get(f"/api-spec.{name}")
    assert reply.status_code == 200
    assert "http:" not in reply.text
    assert "https:" not in reply.text
    assert "default-src 'none'" in reply.headers["content-security-policy"]


async def test_description_can_be_switched_off(tmp_path: Path) -> None:
    async with open_api(config_with(tmp_path, dashboard={"swagger_support": False})) as api:
        assert (await api.client.get("/api-docs/swagger.json")).status_code == 404


async def test_pages_of_other_origins_are_answered_only_when_allowed(api: Api, tmp_path: Path) -> None:
    headers = {"origin": "http://other", "access-control-request-method": "POST"}
    assert "access-control-allow-origin" not in (await api.client.get("/status", headers=headers)).headers
    async with open_api(config_with(tmp_path / "cors", dashboard={"cors": True})) as open_to_all:
        reply = await open_to_all.client.options("/api/v5/login", headers=headers)
        assert reply.headers["access-control-allow-origin"] == "*"
