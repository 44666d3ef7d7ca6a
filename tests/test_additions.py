"""What a developer adds most often touches the few files that docs/architecture.md promises."""

from __future__ import annotations

import importlib
import pkgutil
import re
from datetime import UTC, datetime
from pathlib import Path
from unittest import mock

import aiohttp
import pytest

from spotlightd.cli import main
from spotlightd.commands.docs import metrics_page
from spotlightd.metrics.registry import PrometheusMetrics
from spotlightd.metrics.table import REPORTED, STREAM, Metric
from spotlightd.ports.metrics import Metrics
from spotlightd.runtime.catalog import PACKAGES, load_catalog
from spotlightd.settings.serving import WebSettings
from spotlightd.settings.settings import Settings
from spotlightd.testing import SilentMetrics
from spotlightd.web import pages
from spotlightd.web.app import build_application, serve
from spotlightd.web.state import DaemonState, EngineState, ExplorerContext


def test_a_counter_is_one_row_of_the_table_and_the_call() -> None:
    """The registry, the silent twin and the docs page need nothing else."""
    row = Metric("toys_broken_total", "counter", (STREAM,), "Toys that broke.")
    metrics: tuple[PrometheusMetrics, Metrics] = (
        PrometheusMetrics(["toys"], table=[*REPORTED, row]), SilentMetrics([*REPORTED, row]),
    )  # fmt: skip
    for implementation in metrics:
        implementation.count("toys_broken_total", 2, source="toys")
    assert b'spotlightd_toys_broken_total{source="toys"} 2.0' in metrics[0].text()
    assert "| `spotlightd_toys_broken_total` | counter | `source` | Toys that broke. |" in metrics_page(
        metrics[0].list_metrics()
    )


TOY_COMMAND = """
from spotlightd.commands.command import Command, argument


async def run(arguments, settings, out):
    out.result(f"hello {arguments.name}", {"hello": arguments.name})
    return 3


COMMAND = Command("greet", "greet somebody", "toy greet Ada", (argument("name", metavar="NAME", help="a name"),), run)
"""


def test_a_command_is_one_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A module with a `COMMAND`, in the package or in a folder of it, runs and is listed in --help."""
    folder = tmp_path / "toy_commands" / "social"
    folder.mkdir(parents=True)
    for package in (folder.parent, folder):
        (package / "__init__.py").touch()
    (folder / "greet.py").write_text(TOY_COMMAND, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    commands = importlib.import_module("toy_commands")
    assert main(["greet", "Ada", "--json"], commands) == 3
    assert capsys.readouterr().out == '{"hello": "Ada"}\n'
    with pytest.raises(SystemExit):
        main(["--help"], commands)
    assert "greet somebody" in capsys.readouterr().out


TOY_TRANSFORM = """
from spotlightd import Column, Dataset, Rhythm, Transform, trades

trade_counts = Dataset(
    name="trade_counts", title="Trades per symbol", publisher="this instance", about="How many trades each symbol has.",
    columns=(Column("symbol", "String", "what was traded"), Column("trades", "UInt64", "how many trades")),
    key=("symbol",), order=("symbol",), time="symbol", rhythm=Rhythm("with each trade", stale_days=0),
)
count_trades = Transform(
    name="trade_counts", input=trades, dataset=trade_counts, parser="1",
    select="SELECT symbol, count() AS trades FROM {trades} WHERE load_id = {{of:UInt64}} GROUP BY symbol",
)
"""


@pytest.mark.parametrize("where", ["the operator's folder", "a package"])
def test_a_transform_is_one_value_in_a_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """It is found like a source. Its dataset gets a table, and the daemon runs a flow for it."""
    package = tmp_path / ("sources" if where == "the operator's folder" else "toy_transforms")
    package.mkdir()
    (package / "trade_counts.py").write_text(TOY_TRANSFORM, encoding="utf-8")
    if where == "a package":
        (package / "__init__.py").touch()
        monkeypatch.syspath_prepend(tmp_path)
        catalog = load_catalog(packages=(*PACKAGES, importlib.import_module("toy_transforms")))
    else:
        catalog = load_catalog(Settings(state_dir=tmp_path))
    assert [transform.name for transform in catalog.transforms] == ["bars", "trade_counts"]
    assert "trade_counts" in [dataset.name for dataset in catalog.datasets]
    assert "trade_counts" not in catalog.places  # no parser child loads it
    assert catalog.transforms[-1].format_select("`trades`").startswith("SELECT symbol, count() AS trades FROM `trades`")


def test_a_transform_that_no_source_feeds_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "sources").mkdir()
    text = TOY_TRANSFORM.replace("input=trades", "input=trade_counts")
    (tmp_path / "sources" / "trade_counts.py").write_text(text.replace("{trades}", "{trade_counts}"), encoding="utf-8")
    assert [transform.name for transform in load_catalog(Settings(state_dir=tmp_path)).transforms] == ["bars"]


TOY_DERIVATION = """
from spotlightd import Column, Dataset, Derivation, Rhythm, RowsOf, swaps

swap_counts = Dataset(
    name="swap_counts", title="Messages by day", publisher="this instance", about="How many swap messages each day has.",
    columns=(Column("day", "Date", "the day"), Column("messages", "UInt64", "how many messages", unit="messages")),
    key=("day",), order=("day",), time="day", rhythm=Rhythm("with each file", stale_days=5), pointer=(),
)
count_swaps = Derivation(
    name="swap_counts", inputs=(swaps,), dataset=swap_counts, version="1",
    slices="SELECT toString(report_date) AS slice FROM {swaps}",
    select="SELECT toString(report_date) AS slice, report_date AS day, count() AS messages FROM {swaps}"
    " WHERE report_date IN (SELECT toDate(arrayJoin({{slices:Array(String)}}))) GROUP BY report_date",
    origins=(RowsOf(swaps, "report_date = {day:Date}"),),
)
"""


def test_a_derivation_is_one_value_in_the_operators_folder(tmp_path: Path) -> None:
    """It is found like a source, after those that it reads. Its dataset gets a table, and the daemon runs a flow for it."""
    (tmp_path / "sources").mkdir()
    (tmp_path / "sources" / "swap_counts.py").write_text(TOY_DERIVATION, encoding="utf-8")
    (tmp_path / "sources" / "again.py").write_text(
        TOY_DERIVATION.replace("swap_counts", "again").replace("Derivation, Rhythm, RowsOf, swaps", "Derivation, Rhythm, RowsOf")
        .replace("from spotlightd import Column", "from spotlightd.datasets.ois_curve import ois_curve as swaps\nfrom spotlightd import Column")
        .replace("report_date", "day").replace("{swaps}", "{ois_curve}"), encoding="utf-8",
    )  # fmt: skip
    catalog = load_catalog(Settings(state_dir=tmp_path))
    names = [derivation.name for derivation in catalog.derivations]
    assert {"swap_counts", "again"} <= set(names)
    assert names.index("swap_trades") < names.index("ois_curve") < names.index("again")
    assert {"swap_counts", "swap_roots", "swap_steps"} <= {dataset.name for dataset in catalog.datasets}
    assert "swap_counts" not in catalog.places  # no parser child loads it


TOY_PAGE = """
from aiohttp import web

from spotlightd.web import responses
from spotlightd.web.routes import Nav, Route


async def show_toys(request: web.Request) -> web.Response:
    return responses.render_page(request, "toys.html", {"toys": ["top", "kite"]})


ROUTES = (Route("/toys", show_toys),)
NAV = Nav("Toys", "/toys", 35)
"""
TOY_TEMPLATE = """{% extends "base.html" %}
{% block main %}{% for toy in toys %}<p>{{ toy }}</p>{% endfor %}{% endblock %}
"""


async def test_a_page_is_one_module_and_one_template(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are found in the folders of a package of pages: the page is served and is in the navigation of every page."""
    for folder, name, text in (("pages", "toys.py", TOY_PAGE), ("templates", "toys.html", TOY_TEMPLATE)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_text(text, encoding="utf-8")
    monkeypatch.setattr(pages, "__path__", [*pages.__path__, str(tmp_path / "pages")])
    context = ExplorerContext(
        warehouse=mock.Mock(), documents=mock.Mock(), datasets=(), sources=(), settings=WebSettings(),
        state=lambda: DaemonState("0", datetime(2021, 1, 1, tzinfo=UTC), EngineState("")), excerpt=mock.Mock(),
    )  # fmt: skip
    async with (
        serve(build_application(context), "127.0.0.1", 0) as port,
        aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session,
    ):
        async with session.get("/toys") as response:
            page = await response.text()
        async with session.get("/archive") as response:
            archive = await response.text()
    assert "<p>kite</p>" in page
    links = re.findall(r'<a href="([^"]+)">[^<]+</a>', archive.split("<nav")[1].split("</nav>")[0])
    assert links == ["/#datasets", "/status", "/toys", "/archive", "/logs"]


def test_every_module_of_pages_is_a_page() -> None:
    """Helpers of pages are beside the package, so that the list of its modules is the list of pages."""
    for module in pkgutil.iter_modules(pages.__path__):
        page = importlib.import_module(f"{pages.__name__}.{module.name}")
        assert page.ROUTES, f"{module.name} has no ROUTES"
