"""The commands `backup` and `restore --backup`, beside a daemon and on a new host."""

from __future__ import annotations

from pathlib import Path

from tests.daemon.place import Place, make_place
from tests.daemon.publisher import half_month


async def test_a_backup_beside_a_daemon_is_restored_on_a_new_host(place: Place, tmp_path: Path) -> None:
    """With a document that was replaced by its publisher."""
    place.show(half_month(0), half_month(1))
    backups = tmp_path / "backups"
    async with place.ready() as daemon:
        await place.wait_until_visible()
        first = await place.command("backup", "--to", str(backups), "--json")
        refused = await place.command("backup")
        inside = await place.command("backup", "--to", str(place.state / "backups"))
        place.show(half_month(1, edition=1))
        await place.command("backfill", "fast_ftd")
        await place.wait_until_visible()
        second = await place.command("backup", "--to", str(backups), "--json")
        assert await daemon.stop() == 0
    assert (first.status, second.status) == (0, 0), first.err + second.err
    assert 0 < second.json()["new_objects"] < second.json()["objects"]
    assert (refused.status, inside.status) == (78, 78)
    assert "name a folder on another disk with --to" in refused.err
    assert "is in the state folder" in inside.err
    (tmp_path / "other").mkdir()
    other = make_place(tmp_path / "other", place.server)
    other.settings(schedule={"on_start": False})
    mixed = await other.command("restore", "sec_ftd", "--backup", str(backups))
    assert "--backup restores everything" in mixed.err
    wrong = await other.command("restore", "--backup", str(backups), "--at", "yesterday")
    assert "--at" in wrong.err
    earlier = await other.command("restore", "--backup", str(backups), "--at", "2020-01-01")
    assert "there is no backup of 2020-01-01" in earlier.err
    restored = await other.command("restore", "--backup", str(backups), "--json")
    assert restored.status == 0, restored.err
    assert restored.json()["rows"] == second.json()["rows"]
    audit = await other.command("audit", "--json")
    assert audit.status == 0, audit.err
    async with other.ready(schedule={"on_start": False}) as daemon:
        assert await other.visible() == place.expected
        assert await daemon.stop() == 0
