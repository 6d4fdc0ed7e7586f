"""What did it learn?"""

from limit.ui.gauntlet import show

show()
