"""The router: page settings, login, navigation."""

import streamlit as st

from limit.settings import SHIPPED
from limit.ui.access import sign_in
from limit.ui.first_start import prepare
from limit.ui.router import navigate

# A Material icon would be fetched from the network; a picture of our own is not.
ICON = str(SHIPPED / "brand" / "icon.png")
st.set_page_config(page_title="LIMIT", page_icon=ICON, layout="wide", initial_sidebar_state="auto")
sign_in()
prepare()
navigate().run()
