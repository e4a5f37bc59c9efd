"""What the server costs, measured against a one-tool server on the same SDK in the same run.

`python -m benchmarks` in a checkout with the dev extra installed.
"""
