"""The paper's names for its defences and attack networks, and the study's for its own."""

from __future__ import annotations

NO_DEFENSE, LWA, MINIMAX_GRAD = "No defense", "LWA", "Minimax-Grad"
MINIMAX, ALTERNATING, MAXIMIN = "Minimax-AttNet", "Alt-AttNet", "Maximin-AttNet"
# AttNet-curr is the stronger of a newly trained attack network and the one trained with the classifier.
FRESH, CO_TRAINED = "fresh", "co-trained"
TUNED = "tuned"  # a further attack network beyond the paper, never chosen as AttNet-curr
TRANSFER = "transfer"  # the role of the classifier against which transferred images are made
ANOTHER = "another classifier"  # the name of its column, since it is not the same one on every row
KINDS_OF_TABLE = (1, 2, 3, 4, 5)  # the paper prints each kind once for each data set


def adv(number: int) -> str:
    """Return the name of the classifier of a cat-and-mouse round.

    Examples:
        >>> adv(2)
        'Adv FGSM2'
    """
    return f"Adv FGSM{number}"


def in_tables(rounds: int) -> tuple[str, ...]:
    """Return the defences that are rows of the tables of a study with some rounds.

    Examples:
        >>> in_tables(80)[3]
        'Adv FGSM80'
    """
    return (NO_DEFENSE, adv(1), adv(2), adv(rounds), LWA, MINIMAX_GRAD, MINIMAX, ALTERNATING)
