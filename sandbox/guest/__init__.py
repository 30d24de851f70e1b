"""What runs inside the sandbox's helper containers: single files that need Python's standard library only."""
