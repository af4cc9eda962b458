"""What is trained: loss landscapes and their gradient noise, one family a file."""
