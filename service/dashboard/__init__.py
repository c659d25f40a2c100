"""The web dashboard: pages from templates, charts from our own copy of ECharts, no internet."""
