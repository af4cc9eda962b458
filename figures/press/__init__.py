"""What prints the figures: style, cache of computed data, checks of a caption, files and their manifest."""
