"""Where a cell of a table comes from."""
