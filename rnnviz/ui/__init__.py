"""The interface: the only Streamlit code beside pages/."""
