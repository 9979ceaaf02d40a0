"""A Gitea that is only simulated: for the demo, and for tests."""
