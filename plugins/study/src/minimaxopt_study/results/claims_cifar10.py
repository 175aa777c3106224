"""The paper's claims on CIFAR-10, each as a predicate with a threshold.

The paper sums its results on CIFAR-10 up in three sentences at the end of Sec. 4.4 and in the captions of its Tables 6
to 10. Thresholds are those of the claims on MNIST where the words are the same; all were written before any run that
they judge.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minimaxopt_study.paper.names import ALTERNATING, MINIMAX, MINIMAX_GRAD, NO_DEFENSE, adv
from minimaxopt_study.results.claims_mnist import (
    COMPARABLE,
    CURED_WITHIN,
    FAILS_BY,
    MODERATELY,
    RETURNS_BY,
    Claim,
    grad_lowest,
    undefended,
)
from minimaxopt_study.results.margins import Margin

if TYPE_CHECKING:
    from minimaxopt_study.results.evidence import Evidence


def _helps(e: Evidence) -> list[Margin]:
    return [
        Margin(f"eta {eta:g}: FGSM1 errs more than {RETURNS_BY} less on {adv(1)} than without defence",
               e.error(3, NO_DEFENSE, "FGSM1", eta) - e.error(3, adv(1), "FGSM1", eta) - RETURNS_BY)
        for eta in e.eta
    ]  # fmt: skip


def _not_cured(e: Evidence) -> list[Margin]:
    return [
        Margin(f"eta {eta:g}: {adv(1)} errs on FGSM1 more than {CURED_WITHIN} above the undefended clean error",
               e.error(3, adv(1), "FGSM1", eta) - e.error(3, NO_DEFENSE, "No attack", eta) - CURED_WITHIN)
        for eta in e.eta
    ]  # fmt: skip


def _network_attacks(e: Evidence) -> list[Margin]:
    return [
        Margin(f"eta {eta:g}: AttNet adds more than {RETURNS_BY} to {row}'s error",
               e.error(4, row, "AttNet-curr", eta) - e.error(3, row, "No attack", eta) - RETURNS_BY)
        for eta in e.eta for row in (adv(e.rounds), MINIMAX_GRAD)
    ]  # fmt: skip


def _gradient_attacks(e: Evidence) -> list[Margin]:
    return [
        Margin(f"eta {eta:g}: FGSM-curr errs on {row} more than {MODERATELY:g} times as often as without defence",
               e.error(5, row, "FGSM-curr", eta) - MODERATELY * e.error(3, NO_DEFENSE, "FGSM-curr", eta))
        for eta in e.eta for row in (MINIMAX, ALTERNATING)
    ]  # fmt: skip


def _alike(e: Evidence) -> list[Margin]:
    return [
        Margin(f"eta {eta:g}: the worst errors of {MINIMAX} and {ALTERNATING} differ by less than {COMPARABLE}",
               COMPARABLE - abs(e.error(5, MINIMAX, "worst", eta) - e.error(5, ALTERNATING, "worst", eta)))
        for eta in e.eta
    ]  # fmt: skip


def gate(e: Evidence) -> list[Margin]:
    """Return the conditions on the attack network, against the undefended classifier, before it proves anything.

    On MNIST it must err half as often as FGSM and thrice as often as no attack. Here a classifier errs on a fifth of
    the clean images anyway, so what counts is the error that an attack adds.
    """
    margins: list[Margin] = []
    for eta in e.eta:
        network = e.error(4, NO_DEFENSE, "AttNet-curr", eta)
        fgsm, clean = (e.error(3, NO_DEFENSE, column, eta) for column in ("FGSM-curr", "No attack"))
        added = network - clean
        margins.append(Margin(f"eta {eta:g}: AttNet adds more than half the error that FGSM-curr adds",
                              added - 0.5 * (fgsm - clean)))  # fmt: skip
        margins.append(Margin(f"eta {eta:g}: AttNet adds more than {RETURNS_BY} to the error", added - RETURNS_BY))
    return margins


GATE_IN_WORDS = "adds more than half the error that FGSM adds, and more than 0.1"

CLAIMS: tuple[Claim, ...] = (
    Claim("undefended fails", "FGSM fools an undefended network (Table 6).",
          f"FGSM raises its error by more than {FAILS_BY} at each eta", undefended),
    Claim("adversarial training helps", "Adversarial training significantly lowers the errors of the attack that it "
          "was trained on (Table 7).",
          f"FGSM1 errs more than {RETURNS_BY} less on Adv FGSM1 than without defence", _helps),
    Claim("helps less than on MNIST", "It does not lower them as far as on MNIST (Table 7).",
          f"Adv FGSM1's error on FGSM1 stays more than {CURED_WITHIN} above the undefended clean error, which it comes "
          "within on MNIST", _not_cured),
    Claim("Minimax-Grad lowest", "Minimax-Grad outperforms the non-minimax defences (Sec. 4.4, Table 8).",
          "its worst error is below that of each other row at each eta", grad_lowest),
    Claim("AttNet attacks hardened", "AttNet can attack classifiers hardened against gradient-based attacks (Sec. 4.4, "
          "Table 9).", f"it adds more than {RETURNS_BY} to the error of the last round and of Minimax-Grad",
          _network_attacks, attnet=True),
    Claim("FGSM attacks AttNet-hardened", "Gradient-based attacks are very effective against classifiers hardened "
          "against AttNet, other than on MNIST (Sec. 4.4, Table 10).",
          f"FGSM-curr errs on Minimax-AttNet and Alt-AttNet more than {MODERATELY:g} times as often as without defence",
          _gradient_attacks, attnet=True),
    Claim("alike", "Minimax-AttNet and Alt-AttNet perform similarly, other than on MNIST (Sec. 4.4, Table 10).",
          f"their worst errors differ by less than {COMPARABLE} at each eta", _alike, attnet=True),
)  # fmt: skip
