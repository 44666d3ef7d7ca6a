"""Backticks in descriptions of datasets and columns: `<code>` in pages, unchanged in plain text."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from spotlightd.web.formatting import mark_code, remove_code_marks
from tests.web.world import FAILS, World

pytestmark = pytest.mark.asyncio(loop_scope="session")
ABOUT = "Sorted by `symbol`, where `a < b` & so on."
MEANING = 'as in `"x"`'


@pytest.mark.parametrize(
    ("text", "markup"),
    [
        ("`load_id` names it", "<code>load_id</code> names it"),
        ("`a` and `b`", "<code>a</code> and <code>b</code>"),
        ("`<b>` & <i>", "<code>&lt;b&gt;</code> &amp; &lt;i&gt;"),
        ("one ` alone", "one ` alone"),
        ("`` around nothing", "`` around nothing"),
        ("`not closed\non its line`", "`not closed\non its line`"),
        ("plain", "plain"),
    ],
)
async def test_the_text_is_escaped_first_and_backticks_become_code(text: str, markup: str) -> None:
    assert mark_code(text) == markup


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("`load_id` names it", "load_id names it"),
        ("`a` < `b`", "a < b"),
        ("one ` alone", "one ` alone"),
        ("plain", "plain"),
    ],
)
async def test_tooltips_have_the_text_without_backticks(text: str, plain: str) -> None:
    assert remove_code_marks(text) == plain


async def test_pages_show_code_and_plain_text_keeps_backticks(world: World) -> None:
    column = replace(FAILS.columns[0], meaning=MEANING)
    described = replace(FAILS, about=ABOUT, notes=("Read `about` first.",), columns=(column, *FAILS.columns[1:]))
    async with world.served(datasets=(described, *world.context.datasets[1:])) as other:
        _, table, _ = await other.get("/data/sec_ftd")
        _, home, _ = await other.get("/")
        _, symbol, _ = await other.get("/s/GME")
        _, row, _ = await other.get("/data/sec_ftd/2021-01-15,36467W109,GME")
        _, schema, _ = await other.get("/data/sec_ftd/schema.json")
    about = "Sorted by <code>symbol</code>, where <code>a &lt; b</code> &amp; so on."
    assert all(about in page for page in (table, home, symbol))
    assert all("<li>Read <code>about</code> first.</li>" in page for page in (table, symbol, row))
    assert all("as in <code>&#34;x&#34;</code>" in page for page in (table, row))
    assert 'title="as in &#34;x&#34;' in table
    document = json.loads(schema)
    assert (document["about"], document["columns"][0]["meaning"]) == (ABOUT, MEANING)


async def test_no_page_of_a_dataset_shows_a_backtick(world: World) -> None:
    for dataset in world.context.datasets:
        _, text, _ = await world.get(f"/data/{dataset.name}")
        descriptions = text.split('class="count"')[0] + text.split('id="columns"')[1].split('id="code"')[0]
        assert "`" not in descriptions, dataset.name
