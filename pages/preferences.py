"""What do readers like?"""

from limit.ui.preferences import show

show()
