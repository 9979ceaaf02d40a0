"""Runs that nothing can poll: the jobs themselves report them (``POST /hooks/generic``)."""

from collectors.reports.collector import Reports

__all__ = ["Reports"]
