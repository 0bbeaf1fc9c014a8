"""How commands end: one number each, by which a script or a CI job decides."""

OK = 0
FINDING = 1  # a network is worse, a printed figure is wrong, a network could not be measured
FAILED = FINDING  # of a command that judges nothing: it could not do what was asked
USAGE = 2  # the command line cannot be parsed
CANNOT_JUDGE = 3  # of a command that judges: an error, which is neither a finding nor a pass
INCONCLUSIVE = 4
INCOMPARABLE = 5
INTERRUPTED = 130  # Ctrl-C, as shells have it
