"""The running pipeline.

Takes a `Config`; builds every room's part of it, starts and stops them in their order, and ends on a signal.
Never counts, judges or sends by itself.
"""
