"""Draw ``Plot``s with matplotlib."""
