"""A stand-in GitLab: a process of its own that speaks REST and GraphQL, and moves in simulated time."""
