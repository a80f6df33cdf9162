"""One file per format, each with a class that detects and reads it; `data/registry.py` lists them. No torch."""
