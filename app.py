"""The router: page settings, login, navigation."""

import streamlit as st

from limit.settings import SHIPPED
from limit.ui.access import sign_in
from limit.ui.first_start import prepare

# A Material icon would be fetched from the network; a picture of our own is not.
ICON = str(SHIPPED / "brand" / "icon.png")
st.set_page_config(page_title="LIMIT", page_icon=ICON, layout="wide", initial_sidebar_state="auto")
sign_in()
prepare()

PAGES = {
    "Look": [
        st.Page("pages/overview.py", title="Overview", icon=":material/dashboard:", default=True),
        st.Page("pages/gauntlet.py", title="Gauntlet", icon=":material/bar_chart:"),
        st.Page("pages/preferences.py", title="Preferences", icon=":material/thumbs_up_down:"),
        st.Page("pages/compare.py", title="Compare", icon=":material/balance:"),
    ],
    "Make": [
        st.Page("pages/samples.py", title="Samples", icon=":material/library_books:"),
        st.Page("pages/mix.py", title="Mix", icon=":material/blender:"),
        st.Page("pages/launch.py", title="Launch", icon=":material/rocket_launch:"),
        st.Page("pages/runs.py", title="Runs", icon=":material/monitoring:"),
    ],
    "Tell": [
        st.Page("pages/vote.py", title="Vote", icon=":material/how_to_vote:"),
        st.Page("pages/present.py", title="Present", icon=":material/co_present:"),
    ],
}
st.navigation(PAGES, expanded=True).run()
