"""What follows from raw values: pure functions, nothing stored."""
