"""Camera or video -> detector -> crop -> expression label, timed per stage on one clock."""
