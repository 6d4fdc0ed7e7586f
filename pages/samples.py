"""What is in the data?"""

from limit.ui.router import through_app
from limit.ui.samples import show

through_app()
show()
