"""A simulated GitHub: enough of its REST API to watch Actions, behind a real socket."""
