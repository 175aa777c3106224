"""The fingerprint of data: equal for equal contents, different for any other content, shape or type."""

from __future__ import annotations

import numpy as np

from minimaxopt_privacy import PrivacyData


def fingerprint(X, y=None, private=None):
    labels = [np.arange(len(X)) % 2 if part is None else part for part in (y, private)]
    part = (X, *labels)
    return PrivacyData("x", part, part, "y", "private").fingerprint


def test_equal_contents_have_one_fingerprint():
    X = np.arange(12.0).reshape(4, 3)
    words = [np.array(["".join(("a", "b")), "c", "ab", "c"], dtype=object) for _ in range(2)]
    assert words[0] is not words[1]
    assert fingerprint(X, words[0]) == fingerprint(X.copy(order="F"), words[1])
    assert fingerprint(X, words[0]) == fingerprint(X[:, ::-1].copy()[:, ::-1], words[1])


def test_another_content_shape_or_type_has_another():
    X = np.arange(12.0).reshape(4, 3)
    words = np.array(["a", "b", "a", "b"], dtype=object)
    prints = [
        fingerprint(X),
        fingerprint(X.reshape(4, 3) + 1),
        fingerprint(X.reshape(2, 6)),
        fingerprint(X.view(np.int64)),
        fingerprint(X, words),
        fingerprint(X, words.astype(str)),
        fingerprint(X, np.array(["a", "b", "a", "c"], dtype=object)),
        fingerprint(X, None, words),
    ]
    assert len(set(prints)) == len(prints)
