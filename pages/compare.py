"""Is it real, and how much data is enough?"""

from limit.ui.compare import show

show()
