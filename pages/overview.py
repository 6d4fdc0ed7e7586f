"""Which mix is good at both?"""

from limit.ui.overview import show
from limit.ui.router import through_app

through_app()
show()
