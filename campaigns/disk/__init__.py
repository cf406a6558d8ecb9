"""A disk that remembers every call, refuses one if asked to, and can lose power afterwards.

`calls` stands under SQLite and under the ledger's own calls; `record` keeps what they did; `power` says what a disk may
hold when power fails at some moment of it; `sender` and `life` load a real pipeline meanwhile and count what it had
acknowledged.
"""
