"""How Sphinx builds the documentation: `make docs`."""

from __future__ import annotations

from importlib.metadata import version as installed_version

project = "Stationkeeper"
author = "the Stationkeeper authors"
version = release = installed_version("stationkeeper")

extensions = ["myst_parser"]
exclude_patterns = ["_build", "adr/template.md"]
nitpicky = True

myst_heading_anchors = 3

html_theme = "furo"
html_title = "Stationkeeper"
html_static_path: list[str] = []
html_show_sphinx = False
# Neither theme nor pages load anything from outside.
html_use_opensearch = ""
