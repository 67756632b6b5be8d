from ._cells import BENCHMARK_SIZE as BENCHMARK_SIZE
from ._cells import Mode as Mode
from ._consistency import Consistency as Consistency
from ._consistency import along as along
from ._consistency import consistency as consistency
from ._consistency import flicker as flicker
from ._survival import error_by_visibility as error_by_visibility
from ._survival import in_mask as in_mask
from ._survival import pck_t as pck_t
from ._survival import survival as survival
from ._survival import trajectory_error as trajectory_error
from .cameras import AbsoluteError as AbsoluteError
from .cameras import RelativeError as RelativeError
from .cameras import absolute_error as absolute_error
from .cameras import relative_error as relative_error
from .coherence import flow_disagreement as flow_disagreement
from .coherence import temporal_coherence as temporal_coherence
from .depth import ALIGNMENTS as ALIGNMENTS
from .depth import DepthScores as DepthScores
from .depth import Maps as Maps
from .depth import depth_scores as depth_scores
from .frames import FrameScores as FrameScores
from .frames import evaluate_frames as evaluate_frames
from .frames import ie_mae as ie_mae
from .frames import ie_rms as ie_rms
from .frames import lpips as lpips
from .frames import psnr as psnr
from .frames import ssim as ssim
from .frames import ssim_3d as ssim_3d
from .masks import MaskStatistics as MaskStatistics
from .masks import ObjectScores as ObjectScores
from .masks import contour_accuracy as contour_accuracy
from .masks import evaluate_masks as evaluate_masks
from .masks import mask_statistics as mask_statistics
from .masks import region_similarity as region_similarity
from .masks import summary as summary
from .reappearance import found_again as found_again
from .tapvid import THRESHOLDS as THRESHOLDS
from .tapvid import benchmark_queries as benchmark_queries
from .tapvid import evaluate as evaluate
from .tapvid import mean_scores as mean_scores
from .tapvid import sample_queries_first as sample_queries_first
from .tapvid import sample_queries_strided as sample_queries_strided
from .tapvid import tap_vid as tap_vid

__all__ = [
    "ALIGNMENTS",
    "BENCHMARK_SIZE",
    "THRESHOLDS",
    "AbsoluteError",
    "Consistency",
    "DepthScores",
    "FrameScores",
    "Maps",
    "MaskStatistics",
    "Mode",
    "ObjectScores",
    "RelativeError",
    "absolute_error",
    "along",
    "benchmark_queries",
    "consistency",
    "contour_accuracy",
    "depth_scores",
    "error_by_visibility",
    "evaluate",
    "evaluate_frames",
    "evaluate_masks",
    "flicker",
    "flow_disagreement",
    "found_again",
    "ie_mae",
    "ie_rms",
    "in_mask",
    "lpips",
    "mask_statistics",
    "mean_scores",
    "pck_t",
    "psnr",
    "region_similarity",
    "relative_error",
    "sample_queries_first",
    "sample_queries_strided",
    "ssim",
    "ssim_3d",
    "summary",
    "survival",
    "tap_vid",
    "temporal_coherence",
    "trajectory_error",
]
