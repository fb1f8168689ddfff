"""Records and their analysis, shown: on a terminal, in Markdown, as figures, as JSON."""
