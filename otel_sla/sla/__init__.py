"""What the agreement says.

Takes columns, counts and a time handed in; gives outcomes, states, periods, months and verdicts.
Never does I/O, never reads a clock, never logs, never starts a thread.
"""
