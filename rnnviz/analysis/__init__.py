"""Numbers that explain a network or a run: torch or NumPy in, NumPy out. Each module says what it needs."""
