"""Tell the room."""

from limit.ui.present import show

show()
