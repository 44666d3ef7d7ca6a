"""One bare host, which the playbook makes a box. It lives through all tests, in the order of their files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.host.image import HostMissingError
from tests.host.machine import Machine, Play, run_machine
from tests.host.market import Market, run_market
from tests.host.parts import digest
from tests.host.world import VARIABLES, find_part, find_release, find_standins

# What is done to the host in one file is there in the next.
ORDER = ("test_box.py", "test_faults.py", "test_release.py", "test_restore.py")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files of the host in their order; all else stays where it is."""
    places = [place for place, item in enumerate(items) if item.path.parent == Path(__file__).parent]
    ordered = sorted((items[place] for place in places), key=lambda item: ORDER.index(item.path.name))
    for place, item in zip(places, ordered, strict=True):
        items[place] = item


@pytest.fixture(scope="session")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    try:
        release, minio = find_release(), find_part("minio")
        with run_machine(tmp_path_factory.mktemp("host")) as machine:
            # another Go builds another program, and this one was built here
            machine.variables.update(VARIABLES, release_file=str(release), object_store_minio_digest=digest(minio))
            machine.variables.update(find_standins(tmp_path_factory.mktemp("standins")))
            machine.run(
                "mkdir -p -m 700 /etc/spotlightd/secrets && echo constructed-finnhub-key > /etc/spotlightd/secrets/finnhub.key"
            )
            machine.run("chmod 600 /etc/spotlightd/secrets/finnhub.key")
            yield machine
    except HostMissingError as error:
        pytest.skip(f"no host: {error}")


@pytest.fixture(scope="session")
def first(bare: Machine) -> Play:
    """The first run of the playbook."""
    return bare.play()


@pytest.fixture
def box(bare: Machine, first: Play) -> Machine:
    """The installed host."""
    assert first.failed == 0, first.output[-4000:]
    return bare


@pytest.fixture(scope="session")
def market(bare: Machine, first: Play) -> Iterator[Market]:
    """What the installed host collects from."""
    assert first.failed == 0
    with run_market(bare) as market:
        market.wait_for_ticks(100)
        yield market
