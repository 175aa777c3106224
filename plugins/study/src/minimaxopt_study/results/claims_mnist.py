"""The paper's claims on MNIST, each as a predicate with a threshold.

The thresholds were written before any run that they judge; ``_judge`` says how numbers become a verdict. The same
predicates are applied to the paper's own printed numbers, so that a claim that its tables do not bear is seen as such.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from minimaxopt_study.paper.names import ALTERNATING, LWA, MAXIMIN, MINIMAX, MINIMAX_GRAD, NO_DEFENSE, adv
from minimaxopt_study.results.evidence import LARGE_ETA, SMALL_ETA, Evidence
from minimaxopt_study.results.margins import Margin, Quantity, average

if TYPE_CHECKING:
    from collections.abc import Callable

# What the paper's words are taken to mean, as test error rates.
FAILS_BY = 0.3  # "very effective at fooling": FGSM adds at least this much error
CURED_WITHIN = 0.05  # "back to the level before attack": at most this far above the undefended clean error
RETURNS_BY = 0.1  # an attack that "is effective" again adds at least this much error
MODERATELY = 0.5  # "moderately robust": at most this share of the error that it is compared with
COMPARABLE = 0.05  # "comparable", "similarly": errors that differ by less
BEATEN = 0.85  # "error > ~0.9"
DIFFERENT = 0.02  # "converge to different values": final errors at least this far apart


@dataclass(frozen=True)
class Claim:
    """A claim of the paper.

    Args:
        name: short name.
        says: the claim in a sentence, with where the paper makes it.
        test: the condition in words.
        margins: its conditions as numbers.
        attnet: whether it rests on the attack network having learned to attack.
        late: whether it is about round 80, so that an earlier round cannot refute it.
    """

    name: str
    says: str
    test: str
    margins: Callable[[Evidence], list[Margin]]
    attnet: bool = False
    late: bool = False


def undefended(e: Evidence) -> list[Margin]:
    """Return the conditions that FGSM fools an undefended classifier."""
    return [
        Margin(f"eta {eta:g}: FGSM adds more than {FAILS_BY} to the error",
               e.error(3, NO_DEFENSE, "FGSM-curr", eta) - e.error(3, NO_DEFENSE, "No attack", eta) - FAILS_BY)
        for eta in e.eta
    ]  # fmt: skip


def _cured(e: Evidence) -> list[Margin]:
    return [
        Margin(f"eta {eta:g}: {adv(k)} errs on FGSM{k} as rarely as no defence on clean images, within {CURED_WITHIN}",
               e.error(3, NO_DEFENSE, "No attack", eta) + CURED_WITHIN - e.error(3, adv(k), f"FGSM{k}", eta))
        for eta in e.eta for k in (1, 2)
    ]  # fmt: skip


def _next_breaks(e: Evidence) -> list[Margin]:
    return [
        Margin(f"eta {eta:g}: FGSM made against {adv(k)} adds more than {RETURNS_BY} to its error on FGSM{k}",
               e.error(3, adv(k), "FGSM-curr", eta) - e.error(3, adv(k), f"FGSM{k}", eta) - RETURNS_BY)
        for eta in e.eta for k in (1, 2)
    ]  # fmt: skip


def _older_returns(e: Evidence) -> list[Margin]:
    return [
        Margin(f"eta {eta:g}: FGSM1 errs {RETURNS_BY} more on {adv(2)} than on {adv(1)}",
               e.error(3, adv(2), "FGSM1", eta) - e.error(3, adv(1), "FGSM1", eta) - RETURNS_BY)
        for eta in e.eta
    ]  # fmt: skip


def _last_moderate(e: Evidence) -> list[Margin]:
    return [
        Margin(f"eta {eta:g}: FGSM-curr errs on {adv(e.rounds)} at most {MODERATELY:g} times as often as on {adv(1)}",
               MODERATELY * e.error(3, adv(1), "FGSM-curr", eta) - e.error(3, adv(e.rounds), "FGSM-curr", eta))
        for eta in e.eta
    ]  # fmt: skip


def grad_lowest(e: Evidence) -> list[Margin]:
    """Return the conditions that Minimax-Grad has the lowest worst error."""
    return [
        Margin(f"eta {eta:g}: {MINIMAX_GRAD}'s worst error is below {row}'s",
               e.error(3, row, "worst", eta) - e.error(3, MINIMAX_GRAD, "worst", eta))
        for eta in e.eta for row in (NO_DEFENSE, adv(1), adv(2), adv(e.rounds), LWA)
    ]  # fmt: skip


def _grad_current(e: Evidence) -> list[Margin]:
    return [
        Margin(f"eta {eta:g}: FGSM-curr errs less on {MINIMAX_GRAD} than on {adv(e.rounds)}",
               e.error(3, adv(e.rounds), "FGSM-curr", eta) - e.error(3, MINIMAX_GRAD, "FGSM-curr", eta))
        for eta in e.eta
    ]  # fmt: skip


def _edge(e: Evidence) -> list[Margin]:
    differences = [e.error(3, LWA, "worst", eta) - e.error(3, MINIMAX_GRAD, "worst", eta) for eta in e.eta]
    return [Margin(f"{MINIMAX_GRAD}'s worst error, averaged over eta, is below {LWA}'s", average(differences))]


def _network_strong(e: Evidence) -> list[Margin]:
    return [
        Margin(f"eta {eta:g}: on {row} AttNet errs as often as FGSM-curr or more, within {COMPARABLE}",
               e.error(4, row, "AttNet-curr", eta) - e.error(4, row, "FGSM-curr", eta) + COMPARABLE)
        for eta in e.eta for row in (NO_DEFENSE, adv(1), adv(e.rounds), MINIMAX_GRAD)
    ]  # fmt: skip


def _network_beats(e: Evidence) -> list[Margin]:
    return [
        Margin(f"eta {eta:g}: AttNet errs on {row} more than {BEATEN}", e.error(4, row, "AttNet-curr", eta) - BEATEN)
        for eta in e.eta if eta >= SMALL_ETA for row in (adv(e.rounds), MINIMAX_GRAD)
    ]  # fmt: skip


def _network_hardened(e: Evidence) -> list[Margin]:
    return [
        Margin(f"eta {eta:g}: AttNet errs less on {row} than on {MINIMAX_GRAD}",
               e.error(5, MINIMAX_GRAD, "AttNet-curr", eta) - e.error(5, row, "AttNet-curr", eta))
        for eta in e.eta for row in (MINIMAX, ALTERNATING)
    ]  # fmt: skip


def _alike_small(e: Evidence) -> list[Margin]:
    return [
        Margin(f"eta {eta:g}: the worst errors of {MINIMAX} and {ALTERNATING} differ by less than {COMPARABLE}",
               COMPARABLE - abs(e.error(5, MINIMAX, "worst", eta) - e.error(5, ALTERNATING, "worst", eta)))
        for eta in e.small
    ]  # fmt: skip


def _better_large(e: Evidence) -> list[Margin]:
    return [
        Margin(f"eta {eta:g}: {MINIMAX}'s worst error is below {ALTERNATING}'s",
               e.error(5, ALTERNATING, "worst", eta) - e.error(5, MINIMAX, "worst", eta))
        for eta in e.large
    ]  # fmt: skip


def _out_of_class(e: Evidence) -> list[Margin]:
    return [
        Margin(f"eta {eta:g}: FGSM-curr errs on {MINIMAX} at most {MODERATELY:g} times as often as without defence",
               MODERATELY * e.error(3, NO_DEFENSE, "FGSM-curr", eta) - e.error(5, MINIMAX, "FGSM-curr", eta))
        for eta in e.eta
    ]  # fmt: skip


def _different(e: Evidence) -> list[Margin]:
    return [
        Margin(f"the final errors of {one} and {other} differ by more than {DIFFERENT}",
               abs(e.final(one) - e.final(other)) - DIFFERENT)
        for one, other in ((MINIMAX, ALTERNATING), (ALTERNATING, MAXIMIN), (MINIMAX, MAXIMIN))
    ]  # fmt: skip


def _order(e: Evidence) -> list[Margin]:
    return [
        Margin(f"the final error of {upper} is above {lower}'s", e.final(upper) - e.final(lower))
        for upper, lower in ((MINIMAX, ALTERNATING), (ALTERNATING, MAXIMIN))
    ]


def _lemma(e: Evidence) -> list[Margin]:
    worst = e.error(5, MINIMAX, "AttNet-curr", e.games_eta) if e.games_eta is not None else Quantity({})
    return [
        Margin(f"the attack that {MAXIMIN} ends with gains less on its own classifier than the strongest attack "
               f"network found gains on {MINIMAX}", worst - e.final(MAXIMIN))
    ]  # fmt: skip


def gate(e: Evidence) -> list[Margin]:
    """Return the conditions on the attack network, against the undefended classifier, before it proves anything."""
    margins: list[Margin] = []
    for eta in e.eta:
        network = e.error(4, NO_DEFENSE, "AttNet-curr", eta)
        fgsm, clean = (e.error(3, NO_DEFENSE, column, eta) for column in ("FGSM-curr", "No attack"))
        margins.append(Margin(f"eta {eta:g}: AttNet errs more than half as often as FGSM-curr", network - 0.5 * fgsm))
        margins.append(
            Margin(f"eta {eta:g}: AttNet errs more than three times as often as no attack", network - 3 * clean)
        )
    return margins


GATE_IN_WORDS = "errs more than half as often as FGSM does and more than three times as often as no attack"

CLAIMS: tuple[Claim, ...] = (
    Claim("undefended fails", "FGSM fools an undefended network (Sec. 3.1, Table 1).",
          f"FGSM raises its error by more than {FAILS_BY} at each eta", undefended),
    Claim("own round is cured", "Adversarial training averts the attack that it was trained on (Sec. 3.1, Table 2).",
          f"Adv FGSMk's error on FGSMk is within {CURED_WITHIN} of the undefended clean error, k = 1, 2", _cured),
    Claim("cat and mouse goes on", "A new FGSM against the retrained network works again (Sec. 3.1, Table 3).",
          f"FGSM-curr adds more than {RETURNS_BY} to the error of Adv FGSMk on FGSMk, k = 1, 2", _next_breaks),
    Claim("only its own round", "Adversarial training is not robust to rounds other than the preceding one (Sec. 3.1).",
          f"FGSM1's error on Adv FGSM2 is more than {RETURNS_BY} above that on Adv FGSM1", _older_returns),
    Claim("last round moderately robust", "After 80 rounds it is moderately robust to FGSM-curr (Sec. 3.4).",
          f"FGSM-curr's error on the last round is at most {MODERATELY:g} times that on Adv FGSM1", _last_moderate,
          late=True),
    Claim("Minimax-Grad lowest", "Minimax-Grad has the lowest worst error (Sec. 3.4, Table 3, column worst).",
          "its worst error is below that of each other row at each eta", grad_lowest),
    Claim("Minimax-Grad against FGSM-curr", "Minimax-Grad is more robust to FGSM-curr than the last round (Sec. 3.4).",
          "FGSM-curr errs less on it than on the last round's classifier at each eta", _grad_current),
    Claim("sensitivity term helps", "Minimax-Grad is better than LWA overall, if not by much (Sec. 3.4).",
          "its worst error, averaged over eta, is lower", _edge),
    Claim("AttNet at least FGSM", "AttNet is better than or comparable to FGSM in all cases (Sec. 4.1, Table 4).",
          f"on every row it errs at least as often, within {COMPARABLE}", _network_strong, attnet=True),
    Claim("AttNet beats hardened", "AttNet beats classifiers hardened against FGSM for eta >= 0.2 (Sec. 4.1, Table 4).",
          f"its error on the last round and on Minimax-Grad is above {BEATEN}", _network_beats, attnet=True),
    Claim("AttNet defences resist AttNet", "Minimax-AttNet and Alt-AttNet are more robust than Minimax-Grad to AttNet "
          "(Sec. 4.4, Table 5).", "AttNet errs less on them at each eta", _network_hardened, attnet=True),
    Claim("alike at small eta", "Minimax-AttNet and Alt-AttNet perform similarly at small eta (Sec. 4.4, Table 5).",
          f"for eta <= {SMALL_ETA} their worst errors differ by less than {COMPARABLE}", _alike_small, attnet=True),
    Claim("minimax better at large eta", "Minimax-AttNet is much better than Alt-AttNet at large eta (Sec. 4.4).",
          f"for eta >= {LARGE_ETA} its worst error is lower", _better_large, attnet=True),
    Claim("out of class", "Minimax-AttNet is moderately robust to FGSM, which it never met (Sec. 4.4, Table 5).",
          f"FGSM-curr errs on it at most {MODERATELY:g} times as often as without defence", _out_of_class, attnet=True),
    Claim("different values", "Minimax, alternating and maximin optimisation converge to different values (Fig. 2).",
          f"the final errors of the pairs differ by more than {DIFFERENT}", _different, attnet=True),
    Claim("order of values", "Minimax ends above alternating, alternating above maximin (Fig. 2).",
          "the final errors of the pairs are in this order", _order, attnet=True),
    Claim("Lemma 1.5", "max min is at most min max (Lemma 1.5), as far as the found solutions show it.",
          "the final error of the maximin pair is below the strongest attack network's on Minimax-AttNet", _lemma,
          attnet=True),
)  # fmt: skip
