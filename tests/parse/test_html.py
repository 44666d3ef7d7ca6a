from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from spotlightd.parse import html

BASE = "https://www.sec.gov/data-research/list"
PAGE = """<!DOCTYPE html><html><body>
<p>No link: /files/cnsfails202001a.zip <!-- <a href="/files/cnsfails202002a.zip"> --></p>
<a href="/files/cnsfails202101a.zip">first</a> <A HREF=' ../files/old/cnsfails202101b.zip#top '>second</A>
<a href="https://other.example/x/cnsfails202102a.zip?download=1&amp;now=2">third</a>
<a href="/files/cnsfails202101a.zip#again">first again</a> <a href="/files/readme.pdf">no</a>
<a name="x">no address</a> <a href="">empty</a> <a href="javascript:x('cnsfails202103a.zip')">no</a>
<a href="mailto:cnsfails202103b.zip@example.org">no</a> <a href="http://[broken/cnsfails202104a.zip">no</a>
<a href="/files/a%20b/cnsfails202105a.zip"
"""


def test_links_are_absolute_each_once_in_the_pages_order() -> None:
    links = html.links(PAGE + ">last</a>", BASE, r"/cnsfails(\d{4})(\d\d)([ab])\.zip$")
    assert [(link.url, link.match.groups()) for link in links] == [
        ("https://www.sec.gov/files/cnsfails202101a.zip", ("2021", "01", "a")),
        ("https://www.sec.gov/files/old/cnsfails202101b.zip", ("2021", "01", "b")),
        ("https://other.example/x/cnsfails202102a.zip?download=1&now=2", ("2021", "02", "a")),
        ("https://www.sec.gov/files/a%20b/cnsfails202105a.zip", ("2021", "05", "a")),
    ]


def test_a_link_has_the_text_that_a_reader_sees() -> None:
    page = '<a href="/a.zip">one\n <b>and</b> &amp; two</a> outside <a href="/b.zip"></a><a href="/c.zip">open'
    assert [link.text for link in html.links(page, BASE, r"\.zip$")] == ["one and & two", "", "open"]


def test_a_base_element_counts_as_in_a_browser() -> None:
    page = '<base href="/there/"><a href="a.zip">a</a>'
    assert [link.url for link in html.links(page, BASE, r"\.zip$")] == ["https://www.sec.gov/there/a.zip"]


def test_the_pattern_is_matched_on_the_path_alone() -> None:
    assert html.links('<a href="/x?file=a.zip">a</a> <a href="/b#a.zip">b</a>', BASE, r"\.zip") == []


@given(page=st.text("<a href='\"/=>&#;!-[]:.zipx\n ", max_size=200))
def test_no_page_is_too_broken_to_be_looked_through(page: str) -> None:
    for link in html.links(page, BASE, "zip"):
        assert link.url.startswith(("http://", "https://"))
