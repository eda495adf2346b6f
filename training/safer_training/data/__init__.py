"""Training data: from sources to the rows of each stage."""
