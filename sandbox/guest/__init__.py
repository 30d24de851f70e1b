"""What runs inside the sandbox's helper containers, as modules of this package: Python's standard library only."""
