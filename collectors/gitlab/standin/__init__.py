"""A stand-in GitLab: a process of its own that answers like REST v4 and GraphQL and moves in simulated time."""
