"""Films: several clips under one price and one yes, joined into one file. A shot is an ordinary
request on the ordinary way, so it is made once and paid once, whatever breaks.
Imported by `runtime`.
Tests: tests/server/films.
"""
