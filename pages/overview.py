"""Which mix is good at both?"""

from limit.ui.overview import show

show()
