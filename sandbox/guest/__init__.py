"""The modules that run in the sandbox's helper containers: Python's standard library only."""
