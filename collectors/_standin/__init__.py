"""What all stand-ins share: an HTTP server, faults, controls, simulated time, and a forge to simulate."""
