"""The live status page, its API, badges and feed, served by a process of its own.

Takes: the ledger, read through connections of its own, and the ring's newest minutes, asked of the pipeline.
Gives: HTML, SVG, JSON and Atom to people and machines. Never: writes, or holds up an acknowledgement.
"""
