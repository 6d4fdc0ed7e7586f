"""An index of every file that counts: opened once by the app, rebuilt from the files at any time."""

from limit.store.index import Store

__all__ = ["Store"]
