"""What must be right before it starts: refusals that name the thing and the remedy, and touch nothing."""

from __future__ import annotations

import os
import signal
import tempfile
from pathlib import Path

import psutil
import pytest

from tests.daemon import process
from tests.daemon.place import Place
from tests.daemon.publisher import half_month

NO_RIGHTS = ("setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs")


async def test_an_unknown_setting_names_the_nearest_one(tmp_path: Path) -> None:
    config = tmp_path / "spotlightd.toml"
    config.write_text(f'state_dir = "{tmp_path / "state"}"\n[publisher]\nkontact = "desk@example.org"\n')
    done = await process.command("run", "--config", str(config))
    assert done.status == 78
    assert done.err == "spotlightd: unknown setting publisher.kontact: did you mean publisher.contact?\n"
    assert not (tmp_path / "state").exists()


async def test_a_source_that_requires_a_contact_is_not_started_without_one(tmp_path: Path) -> None:
    config = tmp_path / "spotlightd.toml"
    config.write_text(f'state_dir = "{tmp_path / "state"}"\n[log]\nformat = "json"\n[web]\nport = 0\n')
    async with process.start(config) as daemon:
        assert await daemon.ended(seconds=30) == 78
        assert not daemon.find_events("daemon ready")
    reason = "www.sec.gov requires a contact address, and answers 403 to requests without one"
    assert f'spotlightd: source sec_ftd: {reason}; set contact = "you@example.org" in [publisher]' in daemon.other_lines


async def test_a_state_folder_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = await process.command("run", "--state", str(tmp_path / "file" / "state"))
    assert done.status == 78
    assert "Not a directory" in done.err
    assert done.err.endswith("make it writable for this user, or set state_dir\n")
    assert "Traceback" not in done.err


@pytest.mark.parametrize("with_lock", [False, True])
async def test_a_state_folder_that_cannot_be_written_is_refused(with_lock: bool) -> None:
    """Root, who may write everywhere, tries without its capabilities; the checkout may be where only root can read."""
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder)
        if with_lock:
            (state / "lock").touch()
            (state / "lock").chmod(0o666)
        state.chmod(0o555)
        done = await process.command("run", "--state", folder, prefix=NO_RIGHTS if os.geteuid() == 0 else ())
        assert done.status == 78
        assert f"spotlightd: state folder {state} cannot be used (Permission denied)" in done.err
        assert "Traceback" not in done.err
        state.chmod(0o755)


async def test_a_second_daemon_is_refused_at_once_and_touches_nothing(place: Place) -> None:
    """The first one is frozen meanwhile, with its children, so that every change would be the second one's."""
    place.show(half_month(0))
    async with place.ready() as first:
        await place.wait_until_visible()
        family = [psutil.Process(first.pid), *psutil.Process(first.pid).children(recursive=True)]
        for process in family:
            process.send_signal(signal.SIGSTOP)
        try:
            before = listing(place.state)
            async with place.start() as second:
                assert await second.ended(seconds=3 * slowness()) == 75
            assert listing(place.state) == before
        finally:
            for process in family:
                process.send_signal(signal.SIGCONT)
        error = f"state folder {place.state} is in use by another spotlightd (process {first.pid})"
        assert second.other_lines == [f"spotlightd: {error}: stop that one, or set another state_dir"]
        assert [event["event"] for event in second.events] == ["daemon started"]
        place.show(half_month(1))
        assert (await place.command("backfill", "fast_ftd")).status == 0
        await place.wait_until_visible()
        assert await first.stop() == 0


def listing(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Everything in it: size, time of change of the bytes, and of the entry."""
    paths = [folder, *folder.rglob("*")]
    stats = ((path, path.lstat()) for path in paths)
    return {str(path): (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns) for path, stat in stats}


def slowness() -> float:
    """How much longer things take where more wants to run than there are processors."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
