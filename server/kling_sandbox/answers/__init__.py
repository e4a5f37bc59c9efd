"""What the played providers answer: receipts, tasks, lists and refusals, in the words of each.

Other packages of the sandbox import it. Its tests are in `tests/server/sandbox`.
"""
