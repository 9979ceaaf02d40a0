"""Jenkins: builds of plain and multibranch jobs over its remote API, its nodes, and its queue."""

from collectors.jenkins.collector import Jenkins
from collectors.jenkins.nodes import JenkinsNodes

__all__ = ["Jenkins", "JenkinsNodes"]
