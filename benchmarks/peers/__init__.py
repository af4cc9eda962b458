"""The peers, one library a file; each function prepares a workload and returns the call to be timed."""
