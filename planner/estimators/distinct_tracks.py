"""The number of distinct tracks from sampled frames: what a frame contributes, and what it costs.

A track that is seen in L frames contributes 1/L in each of them, so that the contributions of all
frames add up to the number of tracks, and frames drawn uniformly estimate it without bias: the
Horvitz-Thompson estimator for objects that are drawn in proportion to their size. Source: Horvitz
and Thompson, "A Generalization of Sampling Without Replacement From a Finite Universe", JASA 47
(1952), section 3. A frame with at most K objects of tracks that are each seen in at least m frames
contributes between 0 and K/m, so that the intervals of bounded means hold.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from foveal.planner.estimators.forecast import forecast


def largest(count: float, least: int) -> float:
    """Return the most that a frame can contribute.

    Args:
        count: most objects of a frame.
        least: fewest frames that a track is seen in, of those that are counted.
    """
    return count / max(least, 1)


@dataclass(frozen=True, slots=True)
class Crowd:
    """What is assumed of the tracks before any is seen.

    Attributes:
        present: objects in sight in a frame, on average.
        visit: frames that an object is in sight.
        reach: frames on either side of it that must be looked at to know that it ended.
    """

    present: float
    visit: float
    reach: float

    @property
    def mean(self) -> float:
        """Mean contribution of a frame."""
        return self.present / self.visit

    @property
    def deviation(self) -> float:
        """Its standard deviation: objects come independently, visits differ by a factor of 2."""
        return 1.5 * math.sqrt(self.present) / self.visit

    @property
    def frames(self) -> float:
        """Frames looked at for one drawn frame; long visits are drawn more often."""
        some = 1 - math.exp(-self.present)
        together = self.present / some if some > 0 else 1.0
        return 1 + some * (1.5 * self.visit * (1 + math.log(together)) + 2 * self.reach)


def calls_needed(
    crowd: Crowd,
    *,
    population: int,
    upper: float,
    epsilon: float | None,
    relative: bool,
    delta: float,
    guarantee: str,
) -> tuple[float, float]:
    """Return the expected numbers of drawn frames and of frames looked at, of one group.

    Args:
        crowd: what is assumed of the tracks.
        population: frames of the group.
        upper: see `largest`.
        epsilon: error wanted, in tracks or as a fraction of them; None asks for all.
        relative: epsilon is a fraction.
        delta: allowed probability of a miss.
        guarantee: finite or asymptotic.
    """
    if epsilon is not None:
        epsilon = epsilon * crowd.mean if relative else epsilon / max(population, 1)
    drawn = forecast(
        population=population,
        known=0,
        upper=upper,
        epsilon=epsilon,
        deviation=crowd.deviation,
        delta=delta,
        guarantee=guarantee,
        mean=crowd.mean,
    ).calls
    # Frames around one drawn frame are often around another too.
    covered = -math.expm1(-drawn * crowd.frames / max(population, 1))
    return drawn, max(population * covered, drawn)
