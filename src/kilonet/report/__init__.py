"""Records and their analysis as terminal output, Markdown, HTML, JSON and figures."""
