from ._consistency import along as along
from ._consistency import consistency as consistency
from ._consistency import flicker as flicker
from .cameras import absolute_error as absolute_error
from .cameras import relative_error as relative_error
from .depth import ALIGNMENTS as ALIGNMENTS
from .depth import DepthScores as DepthScores
from .depth import Maps as Maps
from .depth import depth_scores as depth_scores
from .frames import psnr as psnr
from .frames import ssim as ssim
from .masks import ObjectScores as ObjectScores
from .masks import evaluate_masks as evaluate_masks
from .masks import summary as summary
from .reappearance import found_again as found_again
from .tapvid import BENCHMARK_SIZE as BENCHMARK_SIZE
from .tapvid import THRESHOLDS as THRESHOLDS
from .tapvid import Mode as Mode
from .tapvid import benchmark_queries as benchmark_queries
from .tapvid import error_by_visibility as error_by_visibility
from .tapvid import evaluate as evaluate
from .tapvid import flow_disagreement as flow_disagreement
from .tapvid import in_mask as in_mask
from .tapvid import mean_scores as mean_scores
from .tapvid import pck_t as pck_t
from .tapvid import sample_queries_first as sample_queries_first
from .tapvid import sample_queries_strided as sample_queries_strided
from .tapvid import survival as survival
from .tapvid import tap_vid as tap_vid
from .tapvid import temporal_coherence as temporal_coherence
from .tapvid import trajectory_error as trajectory_error

__all__ = [
    "ALIGNMENTS",
    "BENCHMARK_SIZE",
    "THRESHOLDS",
    "DepthScores",
    "Maps",
    "Mode",
    "ObjectScores",
    "absolute_error",
    "along",
    "benchmark_queries",
    "consistency",
    "depth_scores",
    "error_by_visibility",
    "evaluate",
    "evaluate_masks",
    "flicker",
    "flow_disagreement",
    "found_again",
    "in_mask",
    "mean_scores",
    "pck_t",
    "psnr",
    "relative_error",
    "sample_queries_first",
    "sample_queries_strided",
    "ssim",
    "summary",
    "survival",
    "tap_vid",
    "temporal_coherence",
    "trajectory_error",
]
