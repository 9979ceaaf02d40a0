"""GitLab's events: what people do in projects, each told once."""
