"""The demo: from nothing to one page that shows the whole idea."""

from rsuper.demo.run import run_demo

__all__ = ["run_demo"]
