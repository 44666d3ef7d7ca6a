"""`spotlightd check` finds a user of a server that may do more than its role, on the engine and over HTTP."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from spotlightd.clients.clickhouse.rights import DENIED, NOBODY_MUST, READER_MUST_NOT
from spotlightd.errors import SettingsError, StoreError
from spotlightd.runtime.rights import check_rights
from spotlightd.settings.settings import Settings
from spotlightd.settings.stores import WarehouseSettings
from tests.packaging.server_world import NOBODY, USERS, act_as, run_statements

PASSWORD = "constructed-password-of-a-test"


@pytest.mark.parametrize("user", USERS)
def test_the_rendered_users_are_denied_everything_that_check_tries(tmp_path: Path, user: str) -> None:
    made = ["CREATE DATABASE spotlightd", "CREATE TABLE spotlightd.loads (seq Int64) ENGINE = MergeTree ORDER BY seq"]
    assert not [outcome for outcome in run_statements(tmp_path, NOBODY, made) if isinstance(outcome, int)]
    statements = [*NOBODY_MUST, *(READER_MUST_NOT if user != "spotlightd" else ())]
    texts = [statement.format(database="spotlightd") for statement in statements]
    outcomes = run_statements(tmp_path, act_as(user), texts)
    assert set(outcomes) <= DENIED, dict(zip(texts, outcomes, strict=True))


@asynccontextmanager
async def constructed_server(allowed: Mapping[str, str]) -> AsyncIterator[str]:
    """A server whose users are denied everything but what matches; `default` may log in only if it is among them."""

    async def answer(request: web.Request) -> web.Response:
        if request.headers["X-ClickHouse-User"] == "spotlightd" and "spotlightd" not in allowed:
            return web.Response(status=500)
        login, text = request.headers["X-ClickHouse-User"], await request.text()
        if login not in allowed or request.headers["X-ClickHouse-Key"] != ("" if login == "default" else PASSWORD):
            return web.Response(status=403, text="Code: 516. DB::Exception: constructed")
        if re.search(allowed[login], text):
            return web.Response(text="")
        return web.Response(status=403, text="Code: 497. DB::Exception: constructed")

    app = web.Application()
    app.router.add_post("/", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def settings(folder: Path, url: str) -> Settings:
    file = folder / "password"
    file.write_text(PASSWORD)
    file.chmod(0o600)
    warehouse = WarehouseSettings(kind="server", url=url, password_file=str(file), password_files={"guest": str(file)})
    return Settings(warehouse=warehouse)


@pytest.mark.asyncio
async def test_users_with_the_rights_of_their_role_pass(tmp_path: Path) -> None:
    async with constructed_server({"spotlightd": "INSERT|loads", "guest": "^$"}) as url:
        assert await check_rights(settings(tmp_path, url)) == ("spotlightd", "guest")


@pytest.mark.asyncio
@pytest.mark.parametrize("right", ["INSERT INTO", "url\\(", "system.users"])
async def test_a_guest_with_one_right_too_many_is_named_with_the_statement(tmp_path: Path, right: str) -> None:
    async with constructed_server({"spotlightd": "^$", "guest": right}) as url:
        with pytest.raises(SettingsError, match=f"guest .*{right}"):
            await check_rights(settings(tmp_path, url))


@pytest.mark.asyncio
async def test_a_server_that_lets_anybody_in_is_refused(tmp_path: Path) -> None:
    async with constructed_server({"default": "SELECT 1", "spotlightd": "^$", "guest": "^$"}) as url:
        with pytest.raises(SettingsError, match="lets anybody in"):
            await check_rights(settings(tmp_path, url))


@pytest.mark.asyncio
async def test_a_password_that_the_server_does_not_take_is_no_proof(tmp_path: Path) -> None:
    async with constructed_server({"spotlightd": "^$"}) as url:
        with pytest.raises(StoreError, match="does not take the password of its user guest"):
            await check_rights(settings(tmp_path, url))


@pytest.mark.asyncio
async def test_an_answer_that_is_not_the_servers_is_no_proof(tmp_path: Path) -> None:
    async with constructed_server({"guest": "^$"}) as url:
        with pytest.raises(StoreError, match="status 500"):
            await check_rights(settings(tmp_path, url))
