"""Text that the pages show stays text."""

from __future__ import annotations

import re

import pytest

from limit.ui.shell import plain, printable


@pytest.mark.parametrize("text", ["http://a.b/c", "HTTPS://a.b", "see www.a.b", "![x](http://127.0.0.1:9/x)"])
def test_addresses_are_no_links(text: str) -> None:
    """Streamlit's Markdown makes a link of every bare address, also of an escaped one."""
    shown = re.sub(r"\\(.)", r"\1", plain(text))
    assert not re.search(r"https?://|www\.", shown, re.IGNORECASE)
    assert shown.replace("\u2060", "") == text


def test_signs_that_only_look_like_an_address_are_left_alone() -> None:
    assert "\u2060" not in plain("me@a.org, wwwhat, http: //x")


def test_an_entity_is_shown_as_it_stands() -> None:
    assert plain("a &lt;b&gt; &#42;") == r"a \&lt;b\&gt; \&\#42;"


def test_signs_that_turn_or_end_a_line_are_shown_as_codes() -> None:
    assert plain("a\u202eb\x1b") == r"a\\u202eb\\u001b" and printable("a\u2028b") == r"a\u2028b"


@pytest.mark.parametrize("text", ["95\u2009%", "日本\u3000語", "👩\u200d👧", "نمی\u200cخواهم", "one\n\ttwo"])
def test_wide_spaces_and_joiners_stay(text: str) -> None:
    assert printable(text) == text
