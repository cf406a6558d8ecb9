"""The truth: counts, fingerprints, exclusions and events, each change in one transaction.

Takes what the accountant and the judge decided; after a crash it gives back exactly that.
Never decides what a count means.
"""
