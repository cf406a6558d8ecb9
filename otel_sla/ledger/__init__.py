"""The truth: counts, fingerprints, exclusions and events, each change in one transaction.

Takes what the accountant and the judge decided; gives it back after a crash, exactly.
Never decides what a count means.
"""
