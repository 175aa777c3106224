"""Write ``equality-privacy.md``, the page on the privacy filters beside scikit-learn, from the table of the tests.

``python docs/equality_privacy.py`` makes every comparison first, which takes two minutes, and writes the page only if
each holds; ``--declared`` writes it without. ``plugins/privacy/tests/equality`` makes them in every run of the tests, and
fails when the page is not that of the table.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from plugins.privacy.tests.equality.comparisons import COMPARISONS  # noqa: E402 - the tests are no installed package

PAGE = ROOT / "docs" / "equality-privacy.md"

_TEXT = """\
# Privacy filters beside scikit-learn

Every filter and every evaluator of [`minimaxopt-privacy`](privacy.md) is set beside what scikit-learn has for the same
purpose, on 300 samples of six correlated features with each kind of label. A case holds if the greatest difference of
the two results, relative to their greatest entry, is at most the number in the last column. All {cases} cases are tried
in every run of the tests (`plugins/privacy/tests/equality`, where the comparisons can be read). There is no case that
does not hold.

{table}

Where scikit-learn has no such estimator, a special case has one:

- *The private term* of `PrivateLDA` is a covariance that is added to the one within classes, by a
  `covariance_estimator`.
- *DDD* without anything private to be seen is linear discriminant analysis. With a private label it is the best of all
  angles, and no gradient is left (`tests/estimators/test_directions.py`).
- *The private term* of `PrivatePLS` is compared with a search over twenty thousand directions there.
- *The minimax filter*, whose adversary scikit-learn lacks, becomes a regression of the useful label where `rho` is
  large. With an adversary it is compared with closed forms (`tests/estimators/test_minimax_filter.py`).
- *The noise* of the mechanisms is compared with integrals of the densities (`tests/estimators/test_mechanisms.py`).

Neither the order of the rows nor the processor decides a direction: other orders of the rows, and other kernels of
OpenBLAS (Haswell and Nehalem beside the machine's own), give the same directions and scalings to 1e-8
(`tests/estimators/test_determinacy.py`).
"""


def page() -> str:
    """Return the page."""
    lines = ["| minimaxopt | scikit-learn | compared | on | equal to |", "|---|---|---|---|---|"]
    lines += [
        f"| `{row.ours}` | {row.referee} | {row.quantity} | {'; '.join(row.cases)} | {row.tolerance:.0e} |"
        for row in COMPARISONS
    ]
    return _TEXT.format(cases=sum(len(row.cases) for row in COMPARISONS), table="\n".join(lines))


def differences() -> str:
    """Make every comparison, and return those that do not hold."""
    return "\n".join(
        f"{row.ours}, {case}: {difference:.1e} for {row.tolerance:.0e}"
        for row in COMPARISONS
        for case in row.cases
        if not (difference := row.difference(case)) <= row.tolerance
    )


if __name__ == "__main__":
    if "--declared" not in sys.argv[1:] and (wrong := differences()):
        sys.exit(f"{wrong}\nThe page is left as it was.")
    PAGE.write_text(page(), encoding="utf-8")
