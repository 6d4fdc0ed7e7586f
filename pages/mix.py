"""What will I train on?"""

from limit.ui.mix import show

show()
