"""Is it real, and how much data is enough?"""

from limit.ui.compare import show
from limit.ui.router import through_app

through_app()
show()
