"""`check` with a ClickHouse server: no user of it has more rights than its role, as far as the settings name them."""

from __future__ import annotations

from spotlightd.clients.clickhouse.rights import accepts_nobody, find_excess_rights
from spotlightd.errors import SettingsError
from spotlightd.runtime.access import read_secret
from spotlightd.settings.settings import Settings

REMEDY = "give it the rights of clickhouse-config/users.xml.j2 and no more"


async def check_rights(settings: Settings) -> tuple[str, ...]:
    """The users that were tried. SettingsError names a user and what it may do and must not."""
    warehouse = settings.warehouse
    if warehouse.kind != "server":
        return ()
    if not await accepts_nobody(warehouse.url):
        raise SettingsError(
            f"the ClickHouse server at {warehouse.url} lets anybody in as `default` without a password: remove that user"
        )
    files = {warehouse.user: warehouse.password_file, **warehouse.password_files}
    for user, file in files.items():
        name = "password_file" if user == warehouse.user else f"password_files.{user}"
        password, writes = read_secret(file, f"warehouse.{name}"), user == warehouse.user
        if excess := await find_excess_rights(warehouse.url, user, password, warehouse.database, writes=writes):
            raise SettingsError(f"the user {user} of the ClickHouse server can run `{excess[0]}`: {REMEDY}")
    return tuple(files)
