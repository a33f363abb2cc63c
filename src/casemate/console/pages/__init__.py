"""The pages that a person sees in a browser. They show what the gate lets them show, and act through the JSON API."""

from casemate.console.pages.frame import Pages
from casemate.console.pages.routes import build_pages

__all__ = ["Pages", "build_pages"]
