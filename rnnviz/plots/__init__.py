"""Figures: arrays in, Plotly figures out."""
