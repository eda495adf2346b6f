"""Reports: the figures of runs as Markdown, as one HTML file with its plots, and as JSON."""
