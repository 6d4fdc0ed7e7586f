"""What do readers like?"""

from limit.ui.preferences import show
from limit.ui.router import through_app

through_app()
show()
