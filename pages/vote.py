"""Read two answers, pick the better one."""

from limit.ui.router import through_app
from limit.ui.vote import show

through_app()
show()
