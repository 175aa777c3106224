"""What the paper calls its defences and attack networks."""

from __future__ import annotations

NO_DEFENSE, LWA, MINIMAX_GRAD = "No defense", "LWA", "Minimax-Grad"
MINIMAX, ALTERNATING, MAXIMIN = "Minimax-AttNet", "Alt-AttNet", "Maximin-AttNet"
# AttNet-curr is the stronger of a newly trained attack network and the one trained with the classifier.
FRESH, CO_TRAINED = "fresh", "co-trained"
TUNED = "tuned"  # a further attack network beyond the paper, never chosen as AttNet-curr


def adv(number: int) -> str:
    """Name of the classifier of a cat-and-mouse round.

    >>> adv(2)
    'Adv FGSM2'
    """
    return f"Adv FGSM{number}"
