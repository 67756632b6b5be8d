"""What a run cost, counted where the work is done."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass
class Operations:
    """Counters of one run; machine-independent, unlike seconds.

    Attributes:
        frames_encoded: frames that went through the tracker's encoder, full frames and windows together.
        window_frames_encoded: those of them that were windows.
        windows: windows followed through the video (one moving region each).
        tracker_calls: calls of the tracker's `advance`.
        masks_cut: prompts the segmenter decoded.
    """

    frames_encoded: int = 0
    window_frames_encoded: int = 0
    windows: int = 0
    tracker_calls: int = 0
    masks_cut: int = 0

    def add(self, other: Operations) -> None:
        """Count another run's work too."""
        for name, value in asdict(other).items():
            setattr(self, name, getattr(self, name) + value)

    def as_dict(self) -> dict[str, int]:
        """The counters by name."""
        return asdict(self)
