"""Scans against their peers: the same points, the same accidents, and the cost of a point in a large scan.

`python -m benchmarks.scans [--quick] [--only PART ...] [--out DIR]`
"""
