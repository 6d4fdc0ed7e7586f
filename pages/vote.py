"""Read two answers, pick the better one."""

from limit.ui.vote import show

show()
