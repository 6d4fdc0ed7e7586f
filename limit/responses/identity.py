"""What makes two prompts the same."""

from __future__ import annotations

import hashlib
import unicodedata


def prompt_id(text: str) -> str:
    """16 hex of sha256 over the prompt in NFC without trailing white space, as AlpacaEval files differ in both."""
    return hashlib.sha256(unicodedata.normalize("NFC", text).rstrip().encode(errors="surrogatepass")).hexdigest()[:16]
