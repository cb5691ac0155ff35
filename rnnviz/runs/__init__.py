"""Runs that outlive the process that trains them: a store that is the only truth, an engine that fills it."""
