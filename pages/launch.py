"""What will it cost? Choose, see, start."""

from limit.ui.launch import show
from limit.ui.router import through_app

through_app()
show()
