"""The router: page settings, login, navigation."""

import streamlit as st

from limit.settings import SHIPPED
from limit.ui.access import sign_in
from limit.ui.clicks import forget, waiting
from limit.ui.first_start import prepare
from limit.ui.router import navigate, settle

# A Material icon would be fetched from the network; a picture of our own is not.
ICON = str(SHIPPED / "brand" / "icon.png")
st.set_page_config(page_title="LIMIT", page_icon=ICON, layout="wide", initial_sidebar_state="auto")
prepare()  # before anybody is asked who they are: what ships is put in place for everyone
sign_in()
clicks = waiting()
page = navigate()
page.run()
forget(clicks)
settle(page.title)
