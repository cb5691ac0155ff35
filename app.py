"""Start with `streamlit run app.py`: the pages, and beside them the routes that feed the live figures."""

import streamlit as st

from rnnviz.ui.server import MAIN, lifespan, routes

# Built here and not imported: `streamlit run` looks for this very line before it runs anything.
app = st.App(MAIN, lifespan=lifespan, routes=routes())
