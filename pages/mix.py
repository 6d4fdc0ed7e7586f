"""What will I train on?"""

from limit.ui.mix import show
from limit.ui.router import through_app

through_app()
show()
