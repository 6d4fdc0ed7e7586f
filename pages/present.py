"""Tell the room."""

from limit.ui.present import show
from limit.ui.router import through_app

through_app()
show()
