"""Text that the pages show stays text."""

from __future__ import annotations

import re

import pytest

from limit.ui.shell import plain


@pytest.mark.parametrize("text", ["http://a.b/c", "HTTPS://a.b", "see www.a.b", "![x](http://127.0.0.1:9/x)"])
def test_addresses_are_no_links(text: str) -> None:
    """Streamlit's Markdown makes a link of every bare address, also of an escaped one."""
    shown = re.sub(r"\\(.)", r"\1", plain(text))
    assert not re.search(r"https?://|www\.", shown, re.IGNORECASE)
    assert shown.replace("\u2060", "") == text


def test_signs_that_only_look_like_an_address_are_left_alone() -> None:
    assert "\u2060" not in plain("me@a.org, wwwhat, http: //x")
