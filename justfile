# What is run again and again; `just --list` shows it. Needs the set-up of the README.

# Format, lint and types, as CI checks them
check:
    ruff format --check .
    ruff check .
    mypy

# The quick tests, on all cores
test *ARGS:
    python -m pytest {{ ARGS }}

# Everything that CI runs, in environments of its own; installs Chromium, PostgreSQL and nginx
test-all:
    .ci/run

# Start, memory, latency and waiting, beside a one-tool server
bench *ARGS:
    python -m benchmarks {{ ARGS }}
