"""The status page: what it shows, worked out apart from how it is drawn."""
