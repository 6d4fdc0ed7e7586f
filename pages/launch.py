"""What will it cost? Choose, see, start."""

from limit.ui.launch import show

show()
