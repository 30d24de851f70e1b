"""The embedded default: an AWS emulator, simulated GPU hosts and an image registry on this machine."""
