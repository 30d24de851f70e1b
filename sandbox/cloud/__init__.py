"""The sandbox's AWS: moto's server, a fault injector in front of it, and the hosts behind it."""
