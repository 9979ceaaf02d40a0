"""GitLab's runner fleet: who is online, what runs where, and what waits for whom."""
