"""Tables, curves and pages from result records."""
