"""Draw tables, figures and the page from results and sheets."""
