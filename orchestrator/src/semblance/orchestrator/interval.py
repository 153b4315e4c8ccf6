"""How sure a share is."""

from math import sqrt

# Of the normal distribution, for 95 %.
Z = 1.959964


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """The 95 % score interval of a share: E. B. Wilson, "Probable inference, the law of succession, and statistical
    inference", JASA 22 (1927). It holds for few trials, and for shares near 0 and 1, too.

    >>> tuple(round(bound, 3) for bound in wilson(8, 10))
    (0.49, 0.943)
    """
    share = successes / trials
    centre = share + Z * Z / (2 * trials)
    spread = Z * sqrt(share * (1 - share) / trials + Z * Z / (4 * trials * trials))
    scale = 1 + Z * Z / trials
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)
