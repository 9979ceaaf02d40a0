"""Reports of tests in GitLab's pipelines."""
