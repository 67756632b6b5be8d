from .framepair import FramePair as FramePair
from .framepair import GreyFrame as GreyFrame
from .framepair import patch_stride as patch_stride
from .grid_templates import CLOSE as CLOSE
from .grid_templates import CROP as CROP
from .grid_templates import WIDE as WIDE
from .grid_templates import GridAlignment as GridAlignment
from .grid_templates import align_grid as align_grid
from .grid_templates import crop_templates as crop_templates
from .grid_templates import sample_templates as sample_templates
from .grid_templates import support_weights as support_weights
from .match import search as search
from .pixel_refinement import PixelTemplates as PixelTemplates
from .pixel_refinement import cut_query_pixels as cut_query_pixels
from .pixel_refinement import lab_images as lab_images
from .pixel_refinement import refine_tracks as refine_tracks
from .rows import pad_rows as pad_rows
from .rows import row_blocks as row_blocks
from .templates import CENTRAL as CENTRAL
from .templates import GRID as GRID
from .templates import Templates as Templates
from .templates import align_patches as align_patches
from .templates import central_similarity as central_similarity
from .templates import identity as identity
from .templates import length as length
from .templates import plausible as plausible
from .templates import similarity as similarity

__all__ = [
    "CENTRAL",
    "CLOSE",
    "CROP",
    "GRID",
    "WIDE",
    "FramePair",
    "GreyFrame",
    "GridAlignment",
    "PixelTemplates",
    "Templates",
    "align_grid",
    "align_patches",
    "central_similarity",
    "crop_templates",
    "cut_query_pixels",
    "identity",
    "lab_images",
    "length",
    "pad_rows",
    "patch_stride",
    "plausible",
    "refine_tracks",
    "row_blocks",
    "sample_templates",
    "search",
    "similarity",
    "support_weights",
]
