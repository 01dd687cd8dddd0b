"""Results for a terminal: ratios first."""

from __future__ import annotations

from benchmarks.failure import NOTHING
from benchmarks.figures import Measure, Report, digits, told
from benchmarks.peers import DIRECT


def report(found: Report) -> str:
    """A section."""
    lines = [f"{found.title}: medians of blocks in turn, lowest and highest; × is how many times as good Stoker is"]
    lines += [f"  left out: {peer}: {why}" for peer, why in found.left_out.items()]
    for measure in found.measures:
        lines += ["", *table(measure)]
    return "\n".join(lines)


def ours(measure: Measure) -> str | None:
    """Whom the others are held against: the first that is Stoker's."""
    names = [name for name in measure.blocks if name.startswith("Stoker")]
    return DIRECT if DIRECT in names else next(iter(names), None)


def times_as_good(measure: Measure, own: str | None, peer: str) -> str:
    """The ratio, where there is somebody to be held against."""
    if own is None or peer == own or not measure.better or peer.startswith("floor"):
        return ""
    ratio = measure.times_as_good(own, peer)
    return "" if ratio is None else f"× {digits(ratio)}"


def table(measure: Measure) -> list[str]:
    """A measure."""
    lines, own = [f"  {measure.name}"], ours(measure)
    for peer in measure.blocks:
        found = measure.figures(peer)
        spread = f"{told(min(found), measure.unit)} .. {told(max(found), measure.unit)}" if len(found) > 1 else ""
        size = f"blocks of {measure.sizes[peer]:,}" if peer in measure.sizes else ""
        median = told(measure.median(peer), measure.unit)
        lines.append(
            f"    {times_as_good(measure, own, peer):>9}  {peer:<36} {median:>12}  {spread:<28} {size}".rstrip()
        )
    missing = [(peer, why) for peer, why in measure.failed.items() if peer not in measure.blocks and why != NOTHING]
    return lines + [f"    {'':>9}  {peer:<36} {why}" for peer, why in missing]
