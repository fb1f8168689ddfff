"""Charts as SVG: in the page, and as files next to report.md."""
