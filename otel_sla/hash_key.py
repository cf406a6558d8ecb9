"""The secret of the classifier's look-ups. Apart from `sla`, which does nothing by chance."""

import secrets


def new_hash_key() -> tuple[int, ...]:
    """Make four words for `sla.classify.Classifier`: a sender who knew them could make values that all collide."""
    return tuple(secrets.randbits(64) for _ in range(4))
