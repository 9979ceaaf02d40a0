"""GitLab's environments and deployments."""
