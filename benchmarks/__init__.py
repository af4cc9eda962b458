"""Benchmarks: this package against its peers, as ratios measured in one run.

`python -m benchmarks [--quick] [--only NAME ...] [--out DIR] [--list]`
"""
