"""Figures from plain rows and a palette; nothing here reads a file, asks a store or imports streamlit."""

from limit.charts.composition import composition_html, composition_text
from limit.charts.curves import curve_alt, limit_curve, loss_curves
from limit.charts.gauntlet import PANELS, gauntlet_panels, panels_alt, task_dots
from limit.charts.palette import PAPER_LABELS, Palette
from limit.charts.plane import pareto_front, plane, plane_alt
from limit.charts.preference import preference_alt, preference_bars
from limit.charts.shares import share_bars
from limit.charts.style import category_label, clipped, series_label

__all__ = [
    "PANELS",
    "PAPER_LABELS",
    "Palette",
    "category_label",
    "clipped",
    "composition_html",
    "composition_text",
    "curve_alt",
    "gauntlet_panels",
    "limit_curve",
    "loss_curves",
    "panels_alt",
    "pareto_front",
    "plane",
    "plane_alt",
    "preference_alt",
    "preference_bars",
    "series_label",
    "share_bars",
    "task_dots",
]
