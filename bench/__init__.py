"""Measures what docs/promises.md promises: `python -m bench smoke|full [NAME...]` prints one line per claim.

Each claim stands side by side with its floor: ratios are taken in one run on one machine, servers on one core and load
on the other. Times are printed, never judged.
"""
