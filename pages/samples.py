"""What is in the data?"""

from limit.ui.samples import show

show()
