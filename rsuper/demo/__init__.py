"""The demo: from nothing to one page that shows the whole idea, and the recipe it shares with the study."""
