"""GitLab's merge requests: how many are open, and how long they take."""
