"""What did it learn?"""

from limit.ui.gauntlet import show
from limit.ui.router import through_app

through_app()
show()
